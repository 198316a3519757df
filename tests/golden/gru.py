"""Golden numbers of torch.nn.GRU: `python tests/golden/gru.py > tests/golden/gru.json`.

In double precision, so that the numbers carry no rounding of PyTorch's own. The sizes tell the
GRU variants apart: biases are not zero, H is at least 3, T at least 3, B at least 2.
"""

import json

import torch

torch.manual_seed(0)


def numbers(tensor):
    return [round(value, 9) for value in tensor.flatten().tolist()]


def case(batch, steps, features, hidden):
    gru = torch.nn.GRU(features, hidden, batch_first=True).double()
    parameters = [gru.weight_ih_l0, gru.weight_hh_l0, gru.bias_ih_l0, gru.bias_hh_l0]
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.randn_like(parameter).mul(0.6).float().double())
    x = torch.randn(batch, steps, features).double().requires_grad_()
    h0 = torch.randn(1, batch, hidden).mul(0.5).double().requires_grad_()
    upstream = torch.randn(batch, steps, hidden).double()
    output, _ = gru(x, h0)
    output.backward(upstream)
    return {
        "batch": batch,
        "input": features,
        "hidden": hidden,
        "weights": sum((numbers(p) for p in parameters), []),
        "x": numbers(x),
        "h0": numbers(h0),
        "upstream": numbers(upstream),
        "output": numbers(output),
        "d_weights": sum((numbers(p.grad) for p in parameters), []),
        "d_x": numbers(x.grad),
        "d_h0": numbers(h0.grad),
    }


print(json.dumps([case(2, 4, 2, 3), case(11, 3, 1, 5)]))
