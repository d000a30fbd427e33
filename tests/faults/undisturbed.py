"""What a search decides that hears the same figures in the same order and to which nothing happens."""

from tuner.early_stopping import Asha

RUNGS, EPOCHS, REDUCTION_FACTOR = (3,), 9, 3


def decisions(arrived, trials):
    """State by trial number: PRUNED where a figure stops it, COMPLETE where one of the last epoch came.

    Args:
        arrived: metric by (trial, epoch), in the order of arrival.
    """
    rule = Asha(rungs=RUNGS, reduction_factor=REDUCTION_FACTOR)
    curves = {number: {} for number in range(trials)}
    states = dict.fromkeys(curves, "")
    for (number, epoch), value in arrived.items():
        assert states[number] != "PRUNED", f"trial {number} was stopped and yet went on"
        curves[number][epoch] = value
        if number != 0 and rule.verdict(number, epoch, curves) is not None:
            states[number] = "PRUNED"
        elif epoch == EPOCHS:
            states[number] = "COMPLETE"
    return states
