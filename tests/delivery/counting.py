"""A pipeline that leaves a mark each time that it is carried out."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim")
def count(path: str):
    import os
    import secrets

    os.makedirs(f"{path}/{secrets.token_hex(8)}")


@dsl.pipeline(name="counting")
def counting(path: str):
    count(path=path).set_caching_options(False)
