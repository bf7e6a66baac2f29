"""The HTTP side of the gateway: routes, the wire's schemas, errors → replies."""
