"""Every request comes from an address of its own: too many wrong tokens from one are answered with 429 instead of 401."""

import itertools
import sys

import urllib3.util.connection
from requests.adapters import HTTPAdapter

numbers = itertools.count(1)
connect, send = urllib3.util.connection.create_connection, HTTPAdapter.send


def connect_from_another_address(address, timeout=None, source_address=None, socket_options=None):
    number = next(numbers)
    source = (f"127.{1 + number // 62500 % 250}.{number // 250 % 250}.{1 + number % 250}", 0)
    return connect(address, timeout, source, socket_options)


def send_over_another_connection(self, *args, **kwargs):
    self.poolmanager.clear()
    return send(self, *args, **kwargs)


# Elsewhere the loopback interface has one address.
if sys.platform == "linux":
    urllib3.util.connection.create_connection = connect_from_another_address
    HTTPAdapter.send = send_over_another_connection
