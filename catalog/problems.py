"""What the trainer has against a value, as a sentence in the active language."""

from django.utils.translation import gettext as _

from catalog.values import format_number
from jobs.training.parameters import Problem


def message(problem: Problem) -> str:
    """The sentence for a problem; the trainer's own English one for a code that is new here."""
    params = {
        name: format_number(value)
        if isinstance(value, int | float) and not isinstance(value, bool)
        else value
        for name, value in problem.params.items()
    }
    match problem.code:
        case "wrong_method":
            return _("This hyperparameter has no meaning for this training method.")
        case "not_whole":
            return _("Enter a whole number.")
        case "not_a_number":
            return _("Enter a number, for example 0.01 or 3e-5.")
        case "empty":
            return _("Choose at least one.")
        case "not_a_choice":
            return _("Choose from: %(allowed)s.") % {"allowed": problem.params["choices"]}
        case "out_of_range":
            return _out_of_range(problem) % params
        case "not_below_learning_rate":
            return (
                _(
                    "The final learning rate (%(lr_end)s) must be smaller than the learning rate "
                    "(%(learning_rate)s) to take effect."
                )
                % params
            )
        case "needs_two_rows":
            return _("KTO compares the rows of a batch with each other: at least 2 are needed.")
        case "needs_validation_step":
            return _("Early stopping on the validation loss needs a validation interval above 0.")
        case "needs_evaluation_set":
            return _("Early stopping on the validation loss needs a validation set.")
    return problem.message


def _out_of_range(problem: Problem) -> str:
    """The trainer's hard limits, each end of which may belong to the range or not."""
    match problem.params["open_low"], problem.params["open_high"]:
        case False, False:
            return _("The trainer takes values from %(low)s to %(high)s.")
        case True, False:
            return _("The trainer takes values above %(low)s, up to %(high)s.")
        case False, True:
            return _("The trainer takes values from %(low)s to below %(high)s.")
    return _("The trainer takes values above %(low)s and below %(high)s.")
