"""The one file that holds everything. The only room that imports apsw."""

from secureai_appliance.store.connection import Identity
from secureai_appliance.store.errors import IntegrityViolation, UniqueViolation
from secureai_appliance.store.listing import ListQuery, ListSpec, Page, list_page
from secureai_appliance.store.lock import ServeLock
from secureai_appliance.store.reader import Reader, Row
from secureai_appliance.store.store import Store
from secureai_appliance.store.writer import Transaction

__all__ = [
    "Identity",
    "IntegrityViolation",
    "ListQuery",
    "ListSpec",
    "Page",
    "Reader",
    "Row",
    "ServeLock",
    "Store",
    "Transaction",
    "UniqueViolation",
    "list_page",
]
