"""Scripts and schedules: data in, data out; a seed names its faults for ever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.chaos.acts import Acts
from simulators.chaos.faults import (
    Fault,
    ScriptError,
    check_apart,
    kinds,
    possible,
    read_script,
    write_script,
)
from simulators.chaos.schedule import draw_schedule
from simulators.chaos.world import Setting, World, targets_of

EDGES = ("gw1", "gw2")
STORES = ("embedded", "influx")
BROKERS = ("mosquitto", "embedded")
seeds = st.integers(-(2**40), 2**40)


def installation(tmp_path, store="influx", broker="mosquitto"):
    setting = Setting(tmp_path, broker, store, 1)
    return setting.abilities, targets_of(setting, EDGES)


@given(seeds, st.floats(1, 300), st.sampled_from(STORES), st.sampled_from(BROKERS))
def test_a_schedule_is_a_pure_function_within_the_bounds_of_the_table(
    tmp_path_factory, seed, seconds, store, broker
):
    abilities, targets = installation(tmp_path_factory.getbasetemp(), store, broker)
    among = possible(abilities, targets)
    faults = draw_schedule(seed, seconds, among, targets)
    assert faults == draw_schedule(seed, seconds, among, targets)
    check_apart(faults)
    for fault in faults:
        kind = kinds()[fault.kind]
        assert kind in among
        assert fault.target in targets[kind.part]
        assert 0 <= fault.at_s <= fault.end_s <= seconds
        assert kind.least_s <= fault.for_s <= kind.most_s
        if kind.least is None or kind.most is None:
            assert fault.amount is None
        else:
            assert fault.amount is not None
            assert kind.least <= fault.amount <= kind.most
    text = write_script(faults)
    assert read_script(text, abilities, targets) == faults, "a schedule is a script"


@given(seeds, st.floats(1, 200))
def test_more_minutes_of_a_seed_begin_like_fewer(tmp_path_factory, seed, seconds):
    abilities, targets = installation(tmp_path_factory.getbasetemp())
    among = possible(abilities, targets)
    short = draw_schedule(seed, seconds, among, targets)
    # What would end beyond the short time is in the long one only, and keeps others out of it.
    first = [f for f in draw_schedule(seed, 2 * seconds, among, targets) if f.at_s < seconds - 20]
    assert [fault for fault in short if fault.at_s < seconds - 20] == first


def test_seeds_differ_and_every_kind_comes(tmp_path):
    for store in STORES:
        abilities, targets = installation(tmp_path, store)
        among = possible(abilities, targets)
        drawn = [draw_schedule(seed, 60, among, targets) for seed in range(40)]
        assert len(set(drawn)) == 40
        assert {fault.kind for faults in drawn for fault in faults} == {k.name for k in among}
        assert min(map(len, drawn)) > 10


def test_every_kind_can_be_begun_and_healed(tmp_path):
    assert Acts(World(Setting(tmp_path, "mosquitto", "embedded", 1))).known.keys() == kinds().keys()


HEAD = "at_s,kind,target,for_s,amount\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("at,kind\n", "line 1: the columns are at_s,kind,target,for_s,amount"),
        ("", "line 1"),
        (HEAD + "1,network-cut,gw1,2\n", "line 2: 5 values"),
        (HEAD + "1,network-cut,gw1,2,,\n", "line 2: 5 values"),
        (HEAD + "1,network-cut,gw9,2,\n", "line 2: network-cut: no target 'gw9'; there are gw1,"),
        (HEAD + "1,meteor,gw1,2,\n", "line 2: no kind 'meteor' here; there are network-cut,"),
        (HEAD + "1,store-kill,store,2,\n", "line 2: no kind 'store-kill'"),
        (HEAD + "1,network-slow,gw1,2,\n", "line 2: network-slow: amount is in bytes/s"),
        (HEAD + "1,network-cut,gw1,2,3\n", "line 2: network-cut: amount is empty"),
        (HEAD + "-1,network-cut,gw1,2,\n", "line 2: '-1' is not a number of seconds"),
        (HEAD + "1,network-cut,gw1,nan,\n", "line 2: 'nan' is not a finite number"),
        (HEAD + "1,network-cut,gw1,x,\n", "line 2: could not convert string"),
        (
            HEAD + "1,edge-kill,gw1,2,\n2,edge-pause,gw1,1,\n",
            "edge-pause of gw1 at 2 s begins before edge-kill ends at 3 s",
        ),
    ],
)
def test_a_script_that_cannot_be_used_is_refused_with_line_and_reason(tmp_path, text, reason):
    with pytest.raises(ScriptError) as refused:
        read_script(text, *installation(tmp_path, "embedded"))
    assert reason in str(refused.value)


def test_faults_of_different_parts_may_overlap(tmp_path):
    text = HEAD + "2,edge-clock-jump,gw1,3,-7200\n1,edge-kill,gw1,2,\n1.5,network-cut,gw1,2,\n"
    assert read_script(text, *installation(tmp_path)) == (
        Fault(1, "edge-kill", "gw1", 2),
        Fault(1.5, "network-cut", "gw1", 2),
        Fault(2, "edge-clock-jump", "gw1", 3, -7200),
    )
