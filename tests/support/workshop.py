"""A workshop's documents, made by the tests: facts with numbers on pages that are known, and questions about them.

A part's torque stands on one page of the manual, so that an answer can be held against it.
"""

from __future__ import annotations

from io import BytesIO

import docx
import pymupdf

WHAT = ("valve", "pump", "gearbox", "clutch", "rotor", "turbine", "caliper", "sensor", "manifold", "alternator")
WHERE = ("front", "rear", "left", "right", "upper", "lower", "inner", "outer")
PARTS = [f"{where} {what}" for what in WHAT for where in WHERE]
PER_PAGE = 2
_FILLING = (
    "Before work begins the machine is switched off and secured against being switched on again. The threads are"
    " cleaned and oiled lightly, and damaged bolts are replaced by new ones of the same strength class."
)


def torque(part: str) -> int:
    return 20 + 3 * PARTS.index(part)


def page_of(part: str) -> int:
    """In the manual."""
    return PARTS.index(part) // PER_PAGE + 1


def manual() -> bytes:
    """A PDF in which each page tells of two parts."""
    document = pymupdf.open()
    for start in range(0, len(PARTS), PER_PAGE):
        page = document.new_page()
        page.insert_text((72, 80), f"Chapter {start // PER_PAGE + 1}", fontsize=20)
        lines = []
        for part in PARTS[start : start + PER_PAGE]:
            lines.append(f"The bolts of the {part} are tightened with {torque(part)} newton metres. {_FILLING}")
        page.insert_textbox((72, 110, 520, 700), "\n\n".join(lines), fontsize=11)
    data: bytes = document.tobytes()
    return data


HANDBOOK = """# Workshop handbook

## Brake fluid

Brake fluid is changed every two years, because it takes up water from the air. Use DOT 4 only.

## Winter tyres

Winter tyres need a profile of at least 4 mm. The pressure is checked every month, when the tyres are cold.

## Holidays

The workshop is closed from 24 December to 2 January. Holiday is asked for in writing, four weeks ahead.

## Warranty

The warranty on repairs is 24 months. It does not cover wearing parts such as brake pads and wiper blades.
"""


def letter() -> bytes:
    """A Word file."""
    document = docx.Document()
    document.add_heading("Invoice reminder", 1)
    document.add_paragraph("Invoice BP1087 over 412.50 euros was due on 3 March and has not been paid.")
    document.add_paragraph("Please transfer the amount to the account of the Nordhafen cooperative bank.")
    out = BytesIO()
    document.save(out)
    return out.getvalue()


ANSWERABLE = {
    "How often is brake fluid changed?": "every two years",
    "Which brake fluid should I use?": "DOT 4",
    "What profile do winter tyres need?": "4 mm",
    "When is the tyre pressure checked?": "every month",
    "When is the workshop closed at Christmas?": "24 December",
    "How do I ask for holiday?": "in writing",
    "How long is the warranty on repairs?": "24 months",
    "Does the warranty cover brake pads?": "does not cover",
    "What is the amount of invoice BP1087?": "412.50",
    "To which bank is the money transferred?": "Nordhafen",
    "With what torque are the bolts of the front valve tightened?": "20 newton metres",
    "What happens to damaged bolts?": "replaced",
}
"""Questions, and what a passage that answers them holds."""

UNANSWERABLE = (
    # of other things altogether
    *("What is the capital of Portugal?", "Who wrote Hamlet?", "How do I bake sourdough bread?"),
    *("What is the boiling point of nitrogen?", "Which visa do I need for Japan?", "Who won the election in 1992?"),
    *("How many moons does Jupiter have?", "What is the best opening in chess?", "How do I prune roses?"),
    *("What is the dosage of ibuprofen for children?", "How tall is Mount Kilimanjaro?", "Who painted the Mona Lisa?"),
    *("How do I reset my email password?", "What does the cloud subscription cost?", "Which port does SSH use?"),
    *("How is a contract of employment terminated?", "What is the minimum wage in Ireland?"),
    *("When does the museum open on Sundays?", "What is the recipe for risotto?", "How do vaccines work?"),
    *("What is the population of Brazil?", "When was the telephone invented?", "How do I tie a bow tie?"),
    *("Which languages are spoken in Belgium?", "How deep is the Baltic Sea?"),
    # of what such documents might well tell, and these do not
    *("What is the address of the workshop?", "Who is the head of the workshop?", "What does an hour of labour cost?"),
    *("Which oil does the diesel engine need?", "How is the air conditioning refilled?"),
    *("Where is the fire extinguisher kept?", "What is the telephone number for breakdowns?"),
    *("How are spark plugs gapped?", "What colour is the coolant?", "How is the headlight aligned?"),
    *("What is the voltage of the battery?", "How many seats does the van have?", "Who supplies the windscreens?"),
    *("How is rust on the chassis treated?", "Which key opens the storage room?"),
    *("What is the customs number for exports?", "How is the parking heater programmed?"),
    *("When do apprentices take their exam?", "Which software reads the error memory?"),
    *("How high may the lifting platform be raised?", "What is the fuel consumption of the tow truck?"),
    *("Is there a discount for taxi companies?", "How is used oil disposed of?"),
    *("What is the speed limit with a trailer?", "Which insurance covers hail damage?"),
)
