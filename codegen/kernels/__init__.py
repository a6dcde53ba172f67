"""Schedules: index notation -> loops. `cpu.schedule` and `gpu.schedule` choose among them.

    analysis    how memory is walked when an axis advances
    map         one value a point
    reduce      folds
    contract    sums of products: matrix multiplication, convolution and its gradients
"""
