"""Questions about a document as a whole: a summary, an overview, a list; and whether they say of what."""

from __future__ import annotations

import re

from secureai_appliance.knowledge.relevance import telling
from secureai_appliance.knowledge.terms import own_words, query_terms

_ABOUT_WHOLE = re.compile(
    r"\bsummar(?:y|ies|i[sz]e|i[sz]ing)\b|\btl;?dr\b|\boverview\b|\b(?:main|key) (?:points?|ideas?|topics?|findings)\b"
    r"|\blist (?:all|every|the)\b|\boutline\b|\btable of contents\b"
    r"|\bwhat (?:is|are|does|do) (?:this|the|these|that) (?:\w+ )?(?:documents?|files?|texts?|reports?|papers?|pdfs?)"
    r" (?:about|say|contain|cover)"
    r"|\bzusammenfass\w*|\bfasse?\b(?=.{0,300}\bzusammen\b)|\bzusammen\b|\büberblick\b|\bworum geht es\b"
    r"|\brésum\w*|\bsynthèse\b|\baperçu\b|\bresum(?:e[ns]?|ir|o)\b|\briass(?:um|un)\w*|\bsintesi\b|\bsamenvat\w*"
    r"|总结|總結|摘要|概括|概述|要約|まとめ|요약",
    re.IGNORECASE,
)
# what may stand beside that without saying of what
_PARTS = re.compile(
    r"\b(?:documents?|docs?|files?|texts?|reports?|papers?|pdfs?|attach(?:ed|ments?)|upload(?:ed)?|pages?|contents?"
    r"|whole|entire|everything|short|brief|briefly|quick|just|write|make|create|provide|get|produce|sentences?|bullets?"
    r"|paragraphs?|words|main|key|points?|ideas?|topics?|findings|\d+|one|two|three|four|five|ten|please|plain|simple|terms"
    r"|in (?:plain |simple )?(?:arabic|chinese|dutch|english|french|german"
    r"|italian|japanese|korean|polish|portuguese|russian|spanish)"
    r"|dies(?:e[mnrs]?)?|dokument[es]*|dateien?|datei|text[es]*|berichts?|alles|ganze[nrs]?|kurz|inhalts?|auf deutsch"
    r"|fichiers?|textes?|rapport|documento?s?|archivos?|textos?|bitte|hazme|fais|fai|geef)\b"
    r"|这[份个篇些]|該|这|请|請|帮我|一下|文件|文档|文檔|文章|文书|文書|全文|内容|この|ファイル|ドキュメント|資料|ください|して|下さい|[をのはに]",
    re.IGNORECASE,
)


def asks_about_whole(question: str) -> bool:
    """Whether no single passage answers it."""
    return _ABOUT_WHOLE.search(question) is not None


def has_topic(question: str) -> bool:
    """Whether a question about a whole says of what: `Summarise the warranty`, not `Summarise this document`."""
    rest = own_words(_PARTS.sub(" ", _ABOUT_WHOLE.sub(" ", question)))
    return bool(telling(query_terms(rest)))
