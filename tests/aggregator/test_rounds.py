from aggregator.rounds import Rounds


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Work:
    """Rounds of three pieces that take a second each."""

    def __init__(self, clock):
        self.clock, self.done = clock, []

    def pieces(self):
        for piece in "abc":
            self.clock.now_s += 1
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
