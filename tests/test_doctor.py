"""What the doctor says of settings; that it finds a running appliance well is tested with the server."""

from __future__ import annotations

import pytest

from secureai_appliance.core.sealing import Sealer
from secureai_appliance.doctor import chosen_model
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.governance.configs import Configs
from secureai_appliance.store import Store
from tests.support.knowledge import MODEL, add_embedding_model

RERANK = "knowledge.rerank_model"


@pytest.mark.parametrize(
    ("key", "name", "ok", "said"),
    [
        (RERANK, "", True, "no model is chosen"),
        (RERANK, "gone", False, "there is no model 'gone': secureai config set knowledge.rerank_model NAME"),
        (RERANK, MODEL, False, "of the kind embedding, not rerank"),
        ("knowledge.embedding_model", MODEL, True, MODEL),
    ],
)
def test_a_setting_that_names_no_model_for_its_purpose_is_found(
    store: Store, key: str, name: str, ok: bool, said: str
) -> None:
    configs = Configs(store, Sealer(bytes(32)))
    with store.transaction() as tx:
        add_embedding_model(tx)
        configs.put(tx, SYSTEM, key, name)

    finding = chosen_model(store, configs, key)
    assert (finding.subject, finding.ok) == (key, ok)
    assert said in finding.message
