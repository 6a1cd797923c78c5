"""This room holds what any MQTT program of ours needs: TLS, one connection, size limits, reconnecting, purging.

What the daemon delivers over such a connection, and how nothing gets lost, is in `delivery`.

To explain another trouble with a broker, add its words to `broker` or `tls`; every program then reports it.
"""
