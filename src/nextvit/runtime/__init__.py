"""Bundle -> session -> predictions, with numpy, Pillow and one runtime.

Only the sessions that run in torch, and that of ExecuTorch, need torch.
"""
