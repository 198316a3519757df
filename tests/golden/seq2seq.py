"""Golden numbers of the stock encoder-decoder in PyTorch, with three steps of Adam:
`python tests/golden/seq2seq.py > tests/golden/seq2seq.json`.

Double precision. One case a decoder input; the first has the loss of S0 with L2, the second the
mean squared error.
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


def case(batch, past, future, features, outputs, hidden, repeat_last, half_sum, weight_decay):
    encoder = stack(features, hidden)
    decoder = stack(hidden[-1] if repeat_last else features, hidden)
    dense = torch.nn.Linear(hidden[-1], outputs).double()
    parameters = [p for layer in [*encoder, *decoder, dense] for p in layer.parameters()]
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.randn_like(parameter).mul(0.5).float().double())
    x = torch.randn(batch, past, features).double()
    y = torch.randn(batch, future, outputs).double()
    adam = torch.optim.Adam(parameters, lr=0.01, eps=1e-7, weight_decay=weight_decay)

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
        "weights": flat(parameters),
        "x": numbers(x),
        "y": numbers(y),
        "losses": [],
    }
    for step in range(3):
        adam.zero_grad()
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
        adam.step()
    result["trained"] = flat(parameters)
    return result


print(
    json.dumps(
        [
            case(3, 4, 3, 2, 2, [3, 4], True, True, 0.01),
            case(9, 3, 5, 1, 1, [5], False, False, 0.0),
        ]
    )
)
