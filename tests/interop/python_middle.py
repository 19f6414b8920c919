"""A service that knows nothing of tracing: run it under `opentelemetry-instrument`. It asks DOWNSTREAM."""

import os

import flask
import requests

app = flask.Flask(__name__)


@app.get("/")
def pass_on():
    return requests.get(os.environ["DOWNSTREAM"], timeout=10).json()


if __name__ == "__main__":
    app.run("127.0.0.1", int(os.environ["PORT"]))
