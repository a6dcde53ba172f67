"""The passes, one file each: Module -> Module. `graphnet.pipeline` has their order."""
