"""Look after the studies of a team behind one URL: `tune serve`.

`tokens`, `sessions` and `users` decide who asks, and `guard` lets requests in. `studies` reads what may be seen,
`submissions` and `space_check` decide what may be queued, and `events` follows a study. `api` and `pages` answer
requests, `dashboard` adds Optuna's dashboard, `keeping` makes sure that the cluster works on the queue. `app` puts
them together, and `server` runs them.
"""
