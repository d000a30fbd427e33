"""A queue of studies that share the devices of one Ray cluster.

`entries` defines what waits, `table` keeps it in a database, `shares` divides the devices, `keeper` starts the drivers
and grants them devices, `driver` runs one study in a Ray job, `service` carries out the requests of the clients in
`client`.
"""
