"""``nats+embedded:///path/to/store``: a ``nats-server`` of this machine that its users start, share and end.

:mod:`~pubsubkit_nats.embedded.store` is one user's hold on the server, :mod:`~pubsubkit_nats.embedded.keeper` the
process that ends the server when nobody uses it any more, :mod:`~pubsubkit_nats.embedded.link` the connection: an
ordinary one once the server runs.

Who lives is known by file locks in the store (``flock``), which the kernel gives up when a process dies, however it
dies.  A process id is never taken for a sign of life, so files left by a crash or a reboot mislead nobody.

============== =============================================== ====================================================
lock           held by                                         means
============== =============================================== ====================================================
opening.lock   who opens the store, while it does              one at a time looks for the server and starts it
users.lock     every user, shared; the keeper when all left    the server is needed; or it is being ended
keeper.lock    the keeper                                      somebody will end the server
server.lock    the server, which inherits it                   the store is in use: no second server is started
============== =============================================== ====================================================

So any of them may be killed.  Without its user the server ends, unless there are others.  Without its server the users
start another one on the same store and move to it.  Without the keeper the server goes on, and the next to open or
close the store starts a new keeper; only when the keeper is killed and then all users are, the server goes on until the
store is opened again.  Without all of them the next to open the store starts it anew.

The server listens on a free port of 127.0.0.1 and wants a password, new at each start, from a file that only its user
can read.  Windows has no such locks: opening raises ``ConfigurationError`` there.
"""
