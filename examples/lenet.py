"""LeNet-5, from declaration to training: `python examples/lenet.py [folder of MNIST's IDX files]`.

Without a folder it learns scikit-learn's bundled digits.
"""

import sys

import numpy as np

import graphnet as gn
from graphnet.data import batches, digits, mnist

# The network: N is the batch size, whatever it will be.
x = gn.input("x", ("N", 1, 28, 28))
y = gn.input("y", ("N",), dtype="int32")
shapes = {"w1": (6, 1, 5, 5), "w2": (16, 6, 5, 5), "w3": (400, 120), "w4": (120, 84), "w5": (84, 10)}
p = {name: gn.parameter(name, shape, init=gn.init.he_normal()) for name, shape in shapes.items()}
for name, size in {"b1": 6, "b2": 16, "b3": 120, "b4": 84, "b5": 10}.items():
    p[name] = gn.parameter(name, (size,), init=gn.init.zeros())
params = list(p.values())

h = gn.max_pool2d(gn.relu(gn.conv2d(x, p["w1"], padding="same") + p["b1"][:, None, None]), 2)
h = gn.max_pool2d(gn.relu(gn.conv2d(h, p["w2"], padding="valid") + p["b2"][:, None, None]), 2)
h = gn.flatten(h)
h = gn.relu(h @ p["w3"] + p["b3"])
h = gn.relu(h @ p["w4"] + p["b4"])
logits = h @ p["w5"] + p["b5"]

loss = gn.cross_entropy(logits, y)  # mean over N, labels are class numbers
grads = gn.gradient(loss, params)  # a graph: print it, draw it, differentiate it again
step = gn.compile([loss], inputs=[x, y], updates=gn.optim.adam(params, grads, learning_rate=1e-3))

data = mnist(sys.argv[1]) if len(sys.argv) > 1 else digits()
for epoch in range(5):
    losses = []
    for images, labels in batches(data.train_images, data.train_labels, batch=64, seed=0, epoch=epoch):
        value = step(images, labels)  # NumPy in, NumPy out; parameters live in the executable
        losses.append(float(np.squeeze(value)))
    print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}")

print("compiled for", step.specializations)
