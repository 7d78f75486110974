"""What edge and aggregator have agreed on. Standard library only; no I/O, no clock.

Entry test for a line of code here: *would a change need both sides to agree?*
"""

CONTRACT_VERSION = 1
