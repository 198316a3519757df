"""Golden numbers of the stock encoder-decoder in PyTorch, with three steps of an optimiser:
`python tests/golden/seq2seq.py > tests/golden/seq2seq.json`.

Double precision. One case a decoder input with Adam; the first has the loss of S0 with L2, the
second the mean squared error. Then one each for RMSProp, with clipped gradients, and for SGD.
"""

import json

import torch

torch.manual_seed(1)


def numbers(tensor):
    return [round(value, 9) for value in tensor.flatten().tolist()]


def stack(first, hidden):
    sizes = [first, *hidden]
    return [
        torch.nn.GRU(sizes[i], sizes[i + 1], batch_first=True).double() for i in range(len(hidden))
    ]


OPTIMIZERS = {
    "Adam": lambda p, decay: torch.optim.Adam(p, lr=0.01, eps=1e-7, weight_decay=decay),
    "RmsProp": lambda p, decay: torch.optim.RMSprop(
        p, lr=0.01, alpha=0.92, momentum=0.5, eps=1e-7, weight_decay=decay
    ),
    "Sgd": lambda p, decay: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=decay),
}


def case(
    batch,
    past,
    future,
    features,
    outputs,
    hidden,
    repeat_last,
    half_sum,
    weight_decay,
    optimizer_name="Adam",
    clip_norm=None,
):
    encoder = stack(features, hidden)
    decoder = stack(hidden[-1] if repeat_last else features, hidden)
    dense = torch.nn.Linear(hidden[-1], outputs).double()
    parameters = [p for layer in [*encoder, *decoder, dense] for p in layer.parameters()]
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.randn_like(parameter).mul(0.5).float().double())
    x = torch.randn(batch, past, features).double()
    y = torch.randn(batch, future, outputs).double()
    optimizer = OPTIMIZERS[optimizer_name](parameters, weight_decay)

    def predict():
        states, values = [], x
        for layer in encoder:
            values, state = layer(values)
            states.append(state)
        if repeat_last:
            values = values[:, -1:].expand(-1, future, -1)
        else:
            values = torch.zeros(batch, future, features).double()
        for layer, state in zip(decoder, states):
            values, _ = layer(values, state)
        return dense(values)

    def flat(tensors):
        return sum((numbers(tensor) for tensor in tensors), [])

    result = {
        "batch": batch,
        "past_steps": past,
        "future_steps": future,
        "features": features,
        "outputs": outputs,
        "hidden": hidden,
        "repeat_last": repeat_last,
        "half_sum": half_sum,
        "weight_decay": weight_decay,
        "optimizer": optimizer_name,
        "clip_norm": clip_norm,
        "weights": flat(parameters),
        "x": numbers(x),
        "y": numbers(y),
        "losses": [],
    }
    for step in range(3):
        optimizer.zero_grad()
        output = predict()
        error = output - y
        loss = 0.5 * error.square().sum() / batch if half_sum else error.square().mean()
        loss.backward()
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if step == 0:
            result["output"] = numbers(output)
            result["gradient"] = flat([p.grad for p in parameters])
        result["losses"].append(loss.item())
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()
    result["trained"] = flat(parameters)
    return result


print(
    json.dumps(
        [
            case(3, 4, 3, 2, 2, [3, 4], True, True, 0.01),
            case(9, 3, 5, 1, 1, [5], False, False, 0.0),
            case(3, 4, 3, 2, 1, [4, 3], True, True, 0.01, "RmsProp", 0.5),
            case(5, 3, 4, 1, 2, [5], False, True, 0.01, "Sgd"),
        ]
    )
)
