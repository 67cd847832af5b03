"""The search for the best recipe on real devices. The searching is Optuna's and Ray Tune's (``farm.cluster.search``);
here is what is searched (``space``), for what (``goal``), how a candidate is measured (``trial``), and what came of it
(``outcome``). Nothing here imports ray or optuna.
"""
