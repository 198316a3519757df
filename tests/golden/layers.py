"""Golden numbers of torch.nn.RNN, torch.nn.GRU and torch.nn.LSTM, two layers each, with initial
states: `python tests/golden/layers.py > tests/golden/layers.json`.

In double precision, so that the numbers carry no rounding of PyTorch's own. The sizes tell the
variants and the orders of gates apart: biases are not zero, H is at least 3, T at least 3, B at
least 2. Outputs and all final states are in the loss, each with its own upstream gradient.
"""

import json

import torch

torch.manual_seed(0)

CELLS = {"simple_rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
LAYERS = 2


def numbers(tensor):
    return [round(value, 9) for value in tensor.flatten().tolist()]


def random(*shape):
    return torch.randn(*shape).double()


def case(cell, batch, steps, features, hidden):
    stack = CELLS[cell](features, hidden, LAYERS, batch_first=True).double()
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.copy_(torch.randn_like(parameter).mul(0.6).float().double())
    x = random(batch, steps, features).requires_grad_()
    # h0, and the LSTM's c0: (L, B, H) each.
    count = 2 if cell == "lstm" else 1
    first = [random(LAYERS, batch, hidden).mul(0.5).requires_grad_() for _ in range(count)]
    output, last = stack(x, tuple(first) if count == 2 else first[0])
    last = list(last) if count == 2 else [last]
    of_output = random(batch, steps, hidden)
    of_last = [random(LAYERS, batch, hidden) for _ in range(count)]
    torch.autograd.backward([output, *last], [of_output, *of_last])
    return {
        "cell": cell,
        "batch": batch,
        "steps": steps,
        "input": features,
        "hidden": hidden,
        "weights": {name: numbers(p) for name, p in stack.named_parameters()},
        "x": numbers(x),
        "first": [numbers(state) for state in first],
        "of_output": numbers(of_output),
        "of_last": [numbers(state) for state in of_last],
        "output": numbers(output),
        "last": [numbers(state) for state in last],
        "d_weights": {name: numbers(p.grad) for name, p in stack.named_parameters()},
        "d_x": numbers(x.grad),
        "d_first": [numbers(state.grad) for state in first],
    }


print(json.dumps([case(cell, *sizes) for cell in CELLS for sizes in [(2, 4, 2, 3), (11, 3, 1, 5)]]))
