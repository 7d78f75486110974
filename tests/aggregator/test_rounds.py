from aggregator.rounds import Rounds


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Work:
    """Rounds of three pieces that take a second each."""

    def __init__(self, clock, takes_s=1.0):
        self.clock, self.done, self.takes_s = clock, [], takes_s

    def pieces(self):
        for piece in "abc":
            self.clock.now_s += self.takes_s
            self.done.append(piece)
            yield piece


def test_a_round_begins_when_it_is_time_and_leaves_most_of_it_to_the_rest():
    clock = Clock()
    work = Work(clock)
    rounds = Rounds(work.pieces, 60, clock)
    at = {}
    for second in range(140):
        clock.now_s = max(clock.now_s, float(second))
        before = len(work.done)
        rounds.work()
        if len(work.done) > before:
            at[second] = work.done[-1]
    # Of five seconds one; the second round begins a minute after the first
    assert at == {60: "a", 65: "b", 70: "c", 120: "a", 125: "b", 130: "c"}


def test_finish_does_all_of_a_round_whatever_was_begun():
    clock = Clock()
    work = Work(clock)
    rounds = Rounds(work.pieces, 60, clock)
    clock.now_s = 60.0
    rounds.work()
    rounds.finish()
    assert work.done == ["a", "a", "b", "c"]


def test_nothing_rests_while_there_is_nothing_else_to_do():
    clock = Clock()
    work = Work(clock)
    rounds = Rounds(work.pieces, 60, clock)
    clock.now_s = 60.0
    rounds.work()
    rounds.work()
    assert work.done == ["a"]
    rounds.work(idle=True)
    rounds.work(idle=True)
    assert work.done == ["a", "b", "c"]


def test_after_an_hour_without_a_store_a_round_goes_on_within_a_minute():
    clock = Clock()
    work = Work(clock, takes_s=3_600.0)
    rounds = Rounds(work.pieces, 60, clock)
    clock.now_s = 60.0
    rounds.work()
    clock.now_s += 59
    rounds.work()
    assert work.done == ["a"]
    clock.now_s += 1
    rounds.work()
    assert work.done == ["a", "b"]
