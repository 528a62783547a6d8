from nomosaurus.model.trained import Epoch
from nomosaurus.training import progress


def test_without_a_terminal_there_is_a_line_every_few_seconds(monkeypatch, capsys):
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with progress.training_progress(["network 1", "network 2"], max_epochs=50) as shown:
        for number in range(1, 13):
            for network in (0, 1):
                shown.on_epoch(network, Epoch(number, 2.0, 2.1, is_best=number == 1))
                now += 0.5
    assert capsys.readouterr().err.splitlines() == [
        "network 1, epoch 1 of at most 50: train 2.0000, validation 2.1000 nats/char *",
        "network 1, epoch 6 of at most 50: train 2.0000, validation 2.1000 nats/char",
        "network 1, epoch 11 of at most 50: train 2.0000, validation 2.1000 nats/char",
    ]
