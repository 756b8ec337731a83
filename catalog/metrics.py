"""What a run measures, as people call it: curves, and the figures of a published version."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

# In the order in which they are shown.
METRIC_LABELS: dict[str, str | Promise] = {
    "loss": _("Training loss"),
    "eval_loss": _("Validation loss"),
    "learning_rate": _("Learning rate"),
    "grad_norm": _("Gradient norm"),
    "tokens_per_second": _("Tokens per second"),
    "samples_per_second": _("Samples per second"),
    "eval_perplexity": _("Validation perplexity"),
    "eval_token_accuracy": _("Validation token accuracy"),
    "token_accuracy": _("Token accuracy"),
    "reward_mean": _("Mean reward"),
    "kl": _("Distance from the start (KL)"),
    "reward_margin": _("Reward margin"),
    "reward_accuracy": _("Reward accuracy"),
    "reward_chosen": _("Reward of chosen replies"),
    "reward_rejected": _("Reward of rejected replies"),
    "eval_reward_mean": _("Validation mean reward"),
    "eval_kl": _("Validation distance from the start (KL)"),
    "eval_reward_margin": _("Validation reward margin"),
    "eval_reward_accuracy": _("Validation reward accuracy"),
    "eval_reward_chosen": _("Validation reward of chosen replies"),
    "eval_reward_rejected": _("Validation reward of rejected replies"),
}


def metric_label(key: str) -> str:
    """The name of a metric in the active language; an unknown key stands for itself."""
    return str(METRIC_LABELS.get(key, key))
