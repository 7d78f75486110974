"""PV on the roof: one meter at the boundary with a register for each direction."""

from aggregator.api.accounts import site_account
from contract.reading import Reading
from tests.cases.rig import (
    DAY_MS,
    EXPORT,
    HOUR_MS,
    IMPORT,
    KWH,
    Level,
    Life,
    agree,
    at,
)

DAY = at("2026-06-10 00:00")
END = DAY + DAY_MS


def test_pv_export_and_import_on_one_meter(story):
    tale = story(channels=(IMPORT, EXPORT))
    taken, given = Life(DAY, 1), Life(DAY, 1, first=77 * KWH, seed=2, most=KWH // 2)
    for start in range(DAY, END, 12 * HOUR_MS):
        stop = start + 12 * HOUR_MS - 300_000 * (start + 12 * HOUR_MS < END)
        back = (Reading("em-1", EXPORT, t, u) for t, u in given.polls(start, stop))
        tale.give(tale.batch(taken.polls(start, stop), more=back), arrives=stop)
    ledger = tale.end()
    agree(ledger, taken, DAY, END)
    agree(ledger, given, DAY, END, channel=EXPORT)
    assert ledger.day(DAY).amount == taken.used(DAY, END)
    assert ledger.day(DAY, channel=EXPORT).amount == given.used(DAY, END)
    account = site_account(
        ledger.reader, ledger.reader.register.sites["works"], Level.DAY, DAY, END
    )
    (electricity,) = account.carriers
    assert electricity.consumption == {"kWh": taken.used(DAY, END) - given.used(DAY, END)}
    assert account.measured_share == 1.0
