"""Messages lead to the line: of the key, or of the table that lacks it."""

import pytest

from edge_agent.__main__ import main
from edge_agent.errors import Problem
from edge_agent.toml_lines import key_lines, placed

TEXT = '''\
[edge]   # who
site = "x"
note = """
[not.a.table]
also = 1
"""
[uplink]
host = "b"
[[bus]]
id = "one"
[[bus.meter]]
id = "a"
[[bus.meter]]
id = "b"
"unit" = 3
[[bus]]
id = "two"
 [[ bus.meter ]]
model = { name = "m" }
deep.er = 1
'''


def test_each_key_has_its_line():
    assert key_lines(TEXT) == {
        "edge": 1, "edge.site": 2, "edge.note": 3, "uplink": 7, "uplink.host": 8, "bus": 9,
        "bus[0]": 9, "bus[0].id": 10, "bus[0].meter": 11, "bus[0].meter[0]": 11,
        "bus[0].meter[0].id": 12, "bus[0].meter[1]": 13, "bus[0].meter[1].id": 14,
        "bus[0].meter[1].unit": 15, "bus[1]": 16, "bus[1].id": 17, "bus[1].meter": 18,
        "bus[1].meter[0]": 18, "bus[1].meter[0].model": 19, "bus[1].meter[0].deep.er": 20,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("bus[0].meter[1].unit", 15),
        ("bus[0].meter[1].address", 13),
        ("bus[1].meter[0].model.name", 19),
        ("bus[7].id", 9),
        ("poll.period_s", 0),
        ("", 0),
    ],
)
def test_a_key_that_lacks_is_where_its_table_is(key, line):
    assert [problem.line for problem in placed(TEXT, [Problem(key, "")])] == [line]


def test_check_config_names_file_line_and_key_of_all_that_is_wrong(tmp_path, capsys):
    file = tmp_path / "edge.toml"
    file.write_text(
        '[edge]\nregion = "37011"\nsite = "s"\nid = "g"\ndata_dir = "d"\n[uplink]\nhost = "b"\n'
        'colour = "red"\n[[bus]]\nid = "b"\nhost = "h"\n[[bus.meter]]\nid = "m"\nunit = 999\n'
    )
    assert main(["check-config", "--config", str(file)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[:2] for line in said] == [
        [f"{file}:2", "edge.region"],
        [f"{file}:8", "uplink.colour"],
        [f"{file}:12", "bus[0].meter[0].model"],
        [f"{file}:14", "bus[0].meter[0].unit"],
    ]


def test_what_does_not_fit_together_has_its_line_too(tmp_path, capsys):
    file = tmp_path / "edge.toml"
    file.write_text(
        '[edge]\nregion = "370114"\nsite = "s"\nid = "g"\ndata_dir = "d"\ndevices_dir = "own"\n'
        '[uplink]\nhost = "b"\ntls_ca = "none.pem"\n[[bus]]\nid = "b"\nhost = "h"\n'
        '[[bus.meter]]\nid = "m"\nmodel = "gwf-mtkcoder"\n'
    )
    assert main(["check-config", "--config", str(file)]) == 2
    said = capsys.readouterr().err
    assert f"{file}:9: uplink.tls_ca: cannot read" in said
    assert f"{file}:15: bus[0].meter[0].model: gwf-mtkcoder speaks mbus" in said
    (tmp_path / "own").mkdir()
    own = tmp_path / "own" / "gwf-mtkcoder.toml"
    own.write_text('model = "gwf-mtkcoder"\nprotocol = "mbus"\nflag = "gwf"\n')
    assert main(["check-config", "--config", str(file)]) == 2
    said = capsys.readouterr().err
    assert f"{own}:3 flag: 'gwf' is not three capital letters" in said
