"""A Ray cluster of two nodes with one processor each, for as long as standard input is open.

test ──starts──► this process ──ray.cluster_utils──► two raylets; says its address
"""

from __future__ import annotations

import sys
import warnings

warnings.simplefilter("ignore")  # Ray's own

from ray.cluster_utils import Cluster  # noqa: E402

NODE = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args=dict(NODE))
    try:
        cluster.add_node(wait=False, num_cpus=1, object_store_memory=80 * 2**20)
        cluster.wait_for_nodes(timeout=90)
        print(cluster.address, flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
