"""Where a network can be cut in two: the outputs that are all that passes there."""

import keras


def cuts_of(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """Returns outputs that are all that passes behind them, in order.

    By the name of their layer, or of an operation that is none, such as a reshape.

    Args:
        model: A functional model of one input.
    """
    operations = [
        operation
        for operation in model.operations
        if not isinstance(operation, keras.layers.InputLayer)
    ]
    last_use = {}
    for number, operation in enumerate(operations):
        for tensor in keras.tree.flatten(operation.input):
            last_use[id(tensor)] = number
    cuts, alive = {}, {id(model.input)}
    for number, operation in enumerate(operations[:-1]):
        outputs = keras.tree.flatten(operation.output)
        alive |= {id(tensor) for tensor in outputs}
        alive = {tensor for tensor in alive if last_use.get(tensor, -1) > number}
        if len(outputs) == 1 and alive == {id(outputs[0])}:
            cuts[operation.name] = outputs[0]
    return cuts


def stages_of(model: keras.Model) -> list[str]:
    """Returns the layers behind which a network from clips to logits can be cut.

    All that passes such a layer is its output, one map of each clip.
    """
    maps = [
        layer.name
        for layer in model.layers
        if len(layer.output.shape) == len(model.input.shape)
        and not layer.name.startswith("Logits")
    ]
    cuts = cuts_of(model)
    return [name for name in maps if name in cuts]


def tail_of(model: keras.Model, layer: str) -> keras.Model:
    """Returns a copy of what is behind a layer, fed that layer's output as float32.

    Its layers have the names and the options of the model's; its weights are its own.

    Args:
        model: A functional model of one input.
        layer: One of `stages_of(model)`.
    """
    output = model.get_layer(layer).output
    behind = keras.Model(output, model.output, name=model.name)
    return keras.models.clone_model(
        behind, keras.Input(output.shape[1:], dtype="float32", name=layer)
    )
