"""What a served student says of verbs and nouns if its classes are actions."""

import tensorflow as tf

from kd_keras.data.actions import Actions


def action_outputs(
    probabilities: tf.Tensor, classes: tuple[str, ...], top_k: int
) -> dict[str, tf.Tensor]:
    """Returns the likeliest verbs and nouns, by the name of an output.

    The probability of a verb is the sum over its actions. A noun is scored in the same
    way.

    Args:
        probabilities: Of the actions, (batch, classes).
        classes: Names such as `open door`.
        top_k: At most as many are ranked.
    Returns:
        `top_k_verbs` and `top_k_nouns`, names (batch, k), and their probabilities
        `top_k_verb_probabilities` and `top_k_noun_probabilities`.
    """
    actions = Actions(classes)
    by_class, outputs = tf.transpose(probabilities), {}
    for kind, names, positions in (
        ("verb", actions.verbs, actions.verb_of),
        ("noun", actions.nouns, actions.noun_of),
    ):
        sums = tf.math.unsorted_segment_sum(by_class, positions, len(names))
        best, indices = tf.math.top_k(tf.transpose(sums), min(top_k, len(names)))
        outputs[f"top_k_{kind}s"] = tf.gather(tf.constant(names), indices)
        outputs[f"top_k_{kind}_probabilities"] = best
    return outputs
