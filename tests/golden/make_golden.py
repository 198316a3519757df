"""Writes the golden numbers of tests/golden.rs with PyTorch, in double precision.

    python tests/golden/make_golden.py        (PyTorch 2.15, numpy, safetensors)

One file for each decoder input, with the weights before training under PyTorch's names, and

    past, future         the batch, (B, P, D) and (B, F, D)
    prediction           (B, F, D)
    loss                 mean over the batch of 1/2 the sum of the squared errors
    gradient.NAME        of that loss, for every weight
    norm, clipped.NAME   its length, and the same clipped to a length of 0.5
    adam.NAME            every weight after three steps of Adam with L2 weight decay
    rmsprop.NAME         the same for RMSProp
    sgd.NAME             the same for SGD with momentum
"""

import copy
import pathlib

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
BATCH, PAST, FUTURE, FEATURES, HIDDEN, LAYERS = 3, 5, 4, 2, 5, 2
OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, eps=1e-7, weight_decay=0.02),
    "rmsprop": lambda p: torch.optim.RMSprop(
        p, lr=0.007, alpha=0.92, momentum=0.5, eps=1e-7, weight_decay=0.02
    ),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.02),
}

torch.set_default_dtype(torch.float64)


class Model(torch.nn.Module):
    def __init__(self, decoder_input):
        super().__init__()
        self.decoder_input = decoder_input
        width = {"repeat_last": HIDDEN, "zeros": FEATURES}[decoder_input]
        self.encoder = torch.nn.GRU(FEATURES, HIDDEN, LAYERS, batch_first=True)
        self.decoder = torch.nn.GRU(width, HIDDEN, LAYERS, batch_first=True)
        self.dense = torch.nn.Linear(HIDDEN, FEATURES)

    def forward(self, past):
        outputs, states = self.encoder(past)
        if self.decoder_input == "repeat_last":
            decoder_input = outputs[:, -1:, :].repeat(1, FUTURE, 1)
        else:
            decoder_input = torch.zeros(past.shape[0], FUTURE, FEATURES)
        hidden, _ = self.decoder(decoder_input, states)
        return self.dense(hidden)


def half_squared_error(prediction, future):
    return ((prediction - future) ** 2).sum() / (2 * prediction.shape[0])


for seed, name in enumerate(["repeat_last", "zeros"]):
    torch.manual_seed(seed)
    model = Model(name)
    with torch.no_grad():  # larger than PyTorch's own start, so that no gate is near linear
        for parameter in model.parameters():
            parameter.uniform_(-1, 1)
            parameter.copy_(parameter.float())  # exact in the file
    past = torch.randn(BATCH, PAST, FEATURES).float().double()
    future = torch.randn(BATCH, FUTURE, FEATURES).float().double()

    tensors = {key: value.clone() for key, value in model.named_parameters()}
    prediction = model(past)
    loss = half_squared_error(prediction, future)
    loss.backward()
    tensors |= {"past": past, "future": future, "prediction": prediction, "loss": loss.reshape(1)}
    tensors |= {f"gradient.{key}": value.grad.clone() for key, value in model.named_parameters()}

    for key, optimizer in OPTIMIZERS.items():
        trained = copy.deepcopy(model)
        optimizer = optimizer(trained.parameters())
        for _ in range(3):
            optimizer.zero_grad()
            half_squared_error(trained(past), future).backward()
            optimizer.step()
        tensors |= {f"{key}.{name}": value for name, value in trained.named_parameters()}
    tensors["norm"] = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5).reshape(1)
    tensors |= {f"clipped.{key}": value.grad for key, value in model.named_parameters()}
    tensors = {key: value.detach().float().contiguous() for key, value in tensors.items()}
    save_file(tensors, HERE / f"{name}.safetensors")
