"""When faults were, beside when they should have been, and what they touched."""

from simulators.chaos.faults import Fault
from simulators.chaos.moments import Moment, report, times_table

CUT = Fault(1.5, "network-cut", "gw1", 2)
DROP = Fault(2, "network-drop", "gw2", 3, 50)
KILL = Fault(4, "store-kill", "store", 1)
NEVER = Fault(9, "edge-kill", "gw1", 1)


def test_the_file_says_planned_and_actual_times_and_what_was_touched():
    moments = [
        Moment(CUT, 1.5004, 3.501, 3.502, 2),
        Moment(DROP, 2.0, 5.0, 5.0, 0),
        Moment(KILL, 4.7, 5.7, 7.25),
        Moment(NEVER),
    ]
    assert [moment.over() for moment in moments[1:3]] == [
        "network-drop gw2 is over: 0 messages",
        "store-kill store is over",
    ]
    assert times_table(moments).splitlines() == [
        "kind,target,at_s,began_s,end_s,ended_s,healed_s,touched,counts",
        "network-cut,gw1,1.500,1.500,3.500,3.501,3.502,2,connections",
        "network-drop,gw2,2.000,2.000,5.000,5.000,5.000,0,messages",
        "store-kill,store,4.000,4.700,5.000,5.700,7.250,,",
        "edge-kill,gw1,9.000,,10.000,,,,",
    ]


def test_the_report_sums_by_wire_and_warns_of_what_was_late_or_touched_nothing():
    again = Fault(6, "network-cut", "gw1", 1)
    good = [Moment(CUT, 1.5, 3.5, 3.5, 2), Moment(again, 7.0, 8.0, 8.0, 3)]
    assert report(good) == ["wire of gw1: network-cut 5 connections"]
    bad = [
        *good,
        Moment(DROP, 2.0, 6.5, 6.5, 0),
        Moment(KILL, 6.5),
        Moment(NEVER),
    ]
    late = "most of all store-kill store at 4 s by 2.5 s"
    idle = "first of all network-drop gw2 at 2 s"
    assert report(bad) == [
        "wire of gw1: network-cut 5 connections",
        "wire of gw2: network-drop 0 messages",
        f"warning: 2 of 5 faults were more than 1 s late, {late} (times.csv)",
        f"warning: 1 of 5 faults touched nothing, {idle} (times.csv)",
    ]
