"""The engine on a GPU: equality, speed, rivals, processes that share it, memory."""
