"""Puts back what jax has renamed since flax 0.6.3 and dalle-mini 0.1.5 were written; to be imported before them."""

import jax

jax.numpy.DeviceArray = jax.Array
import jax.experimental.pjit  # noqa: E402 - it looks for the name above

jax.experimental.PartitionSpec = jax.experimental.pjit.PartitionSpec = jax.sharding.PartitionSpec
