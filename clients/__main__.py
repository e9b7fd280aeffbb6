"""The node's working process, as `clients.worker` says: `python -m clients --folder DIR`.

A child that is spawned loads its parent's main module, unless that is a package's. So the process
that trains (`clients.compute`) loads what it needs, and not the whole node a second time.
"""

from clients.worker import main

if __name__ == "__main__":
    main()
