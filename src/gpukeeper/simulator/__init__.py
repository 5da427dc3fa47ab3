"""A stand-in for Novita's GPU API that behaves, and misbehaves on request.

It imports nothing of gpukeeper, so it is an independent witness of what gpukeeper does.
"""
