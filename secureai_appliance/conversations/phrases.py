"""The phrases by which a text is known to be no question to documents, in the languages that are asked in most.

Separated by commas. Case, accents, apostrophes and hyphens do not count.
"""

from __future__ import annotations

SMALL_TALK = """
hello, hi, hey, hiya, howdy, greetings, good morning, good afternoon, good evening, good day, good
night, goodbye, bye, see you, see you later, take care, have a nice day, have a good day, have a
nice weekend, nice to meet you, thanks, thank you, thx, many thanks, cheers, much appreciated, that
helped, that was helpful, very helpful, that is all, no thanks, no thank you, no problem, never
mind, sorry, great, perfect, nice, awesome, cool, excellent, wonderful, good, that is great, that is
good, that is perfect, good job, well done, ok, okay, alright, all right, got it, i see, lol, haha,
understood, sounds good, makes sense, how are you, how are you doing, how is it going, hows it
going, what is up, whats up, who are you, what are you, what is your name, whats your name, do you
have a name, what can you do, what can you do for me, what do you do, what can i ask you, what can i
ask, what can i do here, how can you help, how can you help me, what can you help me with, how do
you work, can you help, can you help me, could you help me, help me, help, i need help, i need your
help, i have a question, can i ask you something, can i ask you a question, may i ask a question,
are you a robot, are you a bot, are you human, are you a human, are you an ai, are you real, are you
there, who made you, tell me a joke, tell me about yourself, introduce yourself, do you speak
english, do you speak german, test, testing, hallo, moin, servus, grüezi, grüß gott, guten tag,
guten morgen, guten abend, gute nacht, schönen tag, schönen tag noch, schönen abend, schönes
wochenende, tschüss, tschüß, ciao, auf wiedersehen, bis bald, bis später, bis dann, danke, danke
schön, dankeschön, vielen dank, herzlichen dank, besten dank, tausend dank, nein danke, kein
problem, super, toll, prima, perfekt, klasse, gut, sehr gut, alles klar, verstanden, passt,
entschuldigung, das hat geholfen, das hat mir geholfen, das war hilfreich, wie geht es dir, wie geht
es ihnen, wie geht es, wie gehts, wie gehts dir, wer bist du, wer sind sie, was bist du, wie heißt
du, wie heißen sie, was kannst du, was kannst du alles, was können sie, was kannst du tun, was
kannst du für mich tun, was können sie für mich tun, womit kannst du mir helfen, was machst du,
wobei kannst du mir helfen, wie kannst du mir helfen, wie können sie mir helfen, wie funktionierst
du, kannst du mir helfen, können sie mir helfen, hilf mir, hilfe, ich brauche hilfe, ich brauche
deine hilfe, ich habe eine frage, darf ich etwas fragen, was kann ich dich fragen, was kann ich
fragen, bist du ein mensch, bist du ein roboter, bist du eine ki, bist du da, erzähl mir einen witz,
erzähle mir einen witz, stell dich vor, sprichst du deutsch, sprichst du englisch, bonjour, salut,
bonsoir, coucou, bonne journée, bonne soirée, bonne nuit, au revoir, à bientôt, à plus tard, à
demain, merci, merci beaucoup, mille mercis, je vous remercie, je te remercie, non merci, de rien,
désolé, désolée, pardon, parfait, génial, très bien, bien, c'est bien, c'est parfait, d'accord,
entendu, compris, ça marche, enchanté, enchantée, ça va, comment ça va, comment vas-tu, comment
allez-vous, qui es-tu, tu es qui, qui êtes-vous, comment t'appelles-tu, comment tu t'appelles,
comment vous appelez-vous, que peux-tu faire, que peux-tu faire pour moi, que pouvez-vous faire, que
pouvez-vous faire pour moi, qu'est-ce que tu peux faire, qu'est-ce que vous pouvez faire, que
sais-tu faire, tu peux faire quoi, tu sais faire quoi, comment peux-tu m'aider, comment pouvez-vous
m'aider, peux-tu m'aider, pouvez-vous m'aider, tu peux m'aider, aide-moi, aidez-moi, à l'aide, aide,
j'ai besoin d'aide, j'ai une question, raconte-moi une blague, présente-toi, parles-tu français, tu
parles français, es-tu un robot, es-tu humain, hola, buenos días, buen día, buenas tardes, buenas
noches, buenas, adiós, hasta luego, hasta pronto, hasta mañana, chao, gracias, muchas gracias, mil
gracias, muchísimas gracias, te lo agradezco, se lo agradezco, no gracias, de nada, perfecto,
estupendo, excelente, muy bien, vale, de acuerdo, entendido, está bien, lo siento, perdón,
encantado, encantada, qué tal, qué tal estás, cómo estás, cómo está usted, cómo te va, quién eres,
quién es usted, qué eres, cómo te llamas, cómo se llama usted, qué puedes hacer, qué puedes hacer
por mí, qué puede hacer usted, qué sabes hacer, cómo funcionas, en qué puedes ayudarme, en qué me
puedes ayudar, cómo puedes ayudarme, cómo me puedes ayudar, puedes ayudarme, me puedes ayudar, puede
ayudarme, ayúdame, ayuda, necesito ayuda, necesito tu ayuda, tengo una pregunta, cuéntame un chiste,
preséntate, hablas español, eres un robot, eres humano, buongiorno, buonasera, arrivederci, grazie,
grazie mille, molte grazie, come stai, chi sei, come ti chiami, cosa puoi fare, cosa sai fare, olá,
oi, bom dia, boa tarde, boa noite, obrigado, obrigada, muito obrigado, muito obrigada, tchau, tudo
bem, quem é você, o que você pode fazer, hoi, goedemorgen, goedemiddag, goedenavond, dank je, dank
je wel, dank u, dank u wel, bedankt, tot ziens, wie ben je, wat kun je, wat kun je doen, hoe gaat
het, 你好, 您好, 谢谢, 再见, こんにちは, ありがとう, ありがとうございます
"""
"""Said by itself, or with others of these."""

BESIDES = """
there, all, everyone, everybody, please, and, so, very, much, very much, so much, a lot, again, oh,
ah, well, now, then, today, just, really, indeed, to you, dear, assistant, friend, my friend, for
your help, for the help, for that, for the answer, for your answer, for the info, for the
information, for explaining, bitte, und, sehr, mal, dir, ihnen, dann, noch, na, zusammen, alle, ach,
also, erstmal, für die hilfe, für deine hilfe, für ihre hilfe, für die antwort, für die info, für
die auskunft, s'il te plaît, s'il vous plaît, svp, stp, et, à tous, à toutes, à toi, à vous, tout le
monde, alors, donc, très, pour ton aide, pour votre aide, pour l'aide, pour la réponse, pour ta
réponse, pour votre réponse, pour ça, por favor, y, muy, a todos, por tu ayuda, por su ayuda, por la
ayuda, por la respuesta, por tu respuesta, por la información, entonces, pues, hoy
"""
"""What may stand beside it."""

WISHES = """
shorter, briefer, more briefly, more concise, more concisely, simpler, simply, more simply, more
formal, more formally, friendlier, more polite, more politely, shorten, simplify, rephrase, reword,
paraphrase, rewrite, reformulate, translate, translation, repeat, say that again, say it again, too
long, in short, in simple words, in simpler words, in plain words, in other words, in different
words, in your own words, in simple terms, in simpler terms, in plain english, in simple english, in
a few words, in one sentence, in a sentence, in a single sentence, in two sentences, in three
sentences, in bullet points, as bullet points, as a list, as a bulleted list, as a table, in a
table, as an email, as a letter, like i am five, like im five, what did you say, what did you just
say, what did i say, what did i ask, what did i just ask, what did i ask first, what did i ask you,
what was my question, what was my first question, what was my last question, what was my previous
question, what was your answer, what was your last answer, what were we talking about, what have we
talked about, what did we talk about, kürzer, knapper, einfacher, verständlicher, förmlicher,
formeller, höflicher, freundlicher, kürze, kürzen, vereinfache, vereinfachen, umformulieren,
formuliere, formulier, formulieren, anders formuliert, übersetze, übersetz, übersetzen, übersetzung,
wiederhole, wiederhol, wiederholen, sag das nochmal, sag das noch einmal, zu lang, in stichpunkten,
in stichworten, als stichpunkte, als liste, als tabelle, als e-mail, als brief, in einem satz, in
zwei sätzen, in drei sätzen, in kurz, mit anderen worten, in anderen worten, in eigenen worten, in
einfachen worten, mit einfachen worten, in einfacher sprache, was hast du gesagt, was hast du gerade
gesagt, was haben sie gesagt, was habe ich gesagt, was habe ich gefragt, was habe ich gerade
gefragt, was habe ich zuerst gefragt, was war meine frage, was war meine erste frage, was war meine
letzte frage, was war deine antwort, worüber haben wir gesprochen, worüber haben wir geredet, plus
court, plus courte, plus bref, plus brève, plus brièvement, plus concis, plus simple, plus
simplement, plus poli, plus formel, raccourcis, raccourcir, simplifie, simplifier, reformule,
reformulez, reformuler, traduis, traduisez, traduire, traduction, répète, répétez, répéter, trop
long, en bref, en une phrase, en une seule phrase, en deux phrases, en trois phrases, en quelques
mots, en d'autres termes, en d'autres mots, avec d'autres mots, en mots simples, avec des mots
simples, en termes simples, sous forme de liste, sous forme de tableau, en liste, en tableau,
qu'as-tu dit, qu'est-ce que tu as dit, tu as dit quoi, qu'avez-vous dit, qu'ai-je dit, qu'ai-je
demandé, qu'est-ce que j'ai demandé, quelle était ma question, quelle était ma première question,
quelle était ma dernière question, de quoi avons-nous parlé, más corto, más corta, más breve, más
brevemente, más conciso, más simple, más sencillo, más sencilla, más formal, más amable, acorta,
acórtalo, acortar, simplifica, simplifícalo, reformula, reformúlalo, reformular, traduce, tradúcelo,
tradúcemelo, traducir, traducirlo, traduzca, traducción, repite, repítelo, repetir, repetirlo,
demasiado largo, en resumen, en una frase, en una sola frase, en dos frases, en tres frases, en
pocas palabras, en otras palabras, con otras palabras, con palabras sencillas, en palabras
sencillas, en términos sencillos, como lista, como una lista, como tabla, como una tabla, en forma
de lista, en forma de tabla, en una tabla, qué dijiste, qué has dicho, qué acabas de decir, qué
dije, qué pregunté, qué te pregunté, cuál era mi pregunta, cuál fue mi pregunta, cuál fue mi primera
pregunta, cuál fue mi última pregunta, de qué hablamos, de qué hemos hablado
"""
"""What is wished of an answer that stands there already."""

ROUND_ABOUT = """
can, could, would, will, you, that, it, this, them, me, us, the, your, last, previous, answer,
reply, response, text, message, make, say, put, write, give, tell, explain, express, phrase, be, a,
bit, little, more, once, once more, for, but, also, too, instead, same, thing, version, only, whole,
above, into, to, in, as, i want, i need, i would like, id like, what is that, how do you say that,
how about, what about, kannst, könntest, können, könnten, würdest, du, sie, mir, uns, das, es, dies,
deine, ihre, die, den, der, letzte, letzten, letzter, vorige, antwort, nachricht, mach, mache,
machen, mach's, sag, sage, sagen, sag's, schreib, schreibe, schreiben, gib, geben, erklär, erkläre,
erklären, drück, aus, etwas, ein, eine, einen, bisschen, wenig, viel, einmal, nochmal, noch einmal,
nochmals, jetzt, nun, auch, aber, doch, fassung, ganze, alles, um, anders, lieber, ich möchte, ich
hätte gern, ich hätte gerne, geht es, geht das, was heißt das, wie sagt man das, als, peux,
pourrais, pouvez, pourriez, tu, vous, moi, nous, le, la, les, ça, cela, ceci, ce, ta, votre,
réponse, dernière, texte, dis, dire, dites, redis, redire, fais, faire, écris, écrire, écrivez,
donne, donnez, donner, mets, mettre, explique, expliquer, expliquez, un peu, un, une, encore, encore
une fois, maintenant, aussi, mais, de, façon, manière, différemment, autrement, tout, je voudrais,
en, puedes, podrías, puede, podría, nos, lo, eso, esto, su, respuesta, última, anterior, texto,
mensaje, di, dilo, dime, dímelo, decir, decirlo, decirme, haz, hazlo, hacer, hacerlo, escribe,
escríbelo, escribir, escribirlo, da, dame, dámelo, pon, ponlo, explica, explícalo, explícamelo,
explicar, explicarlo, un poco, una, otra vez, de nuevo, ahora, también, pero, versión, todo, quiero,
quisiera, que sea
"""
"""What may stand beside a wish."""

LANGUAGES = (
    (
        "in, into, to",
        "english, german, french, spanish, italian, portuguese, dutch, polish, russian, turkish, ukrainian, "
        "arabic, chinese, japanese, korean",
    ),
    (
        "auf, in",
        "deutsch, englisch, französisch, spanisch, italienisch, portugiesisch, niederländisch, polnisch, "
        "russisch, türkisch, ukrainisch, arabisch, chinesisch, japanisch",
    ),
    (
        "ins, in das",
        "deutsche, englische, französische, spanische, italienische, portugiesische, niederländische, "
        "polnische, russische, türkische, ukrainische, arabische, chinesische, japanische",
    ),
    (
        "en, vers le",
        "français, anglais, allemand, espagnol, italien, portugais, néerlandais, polonais, russe, arabe, chinois",
    ),
    (
        "en, al",
        "español, inglés, alemán, francés, italiano, portugués, holandés, polaco, ruso, árabe, chino",
    ),
)
"""Wishes, too: each of the first list before each of the second."""

ORDERS = (
    (
        "translate, rephrase, reword, paraphrase, rewrite, reformulate, shorten, simplify, summarise, "
        "summarize, sum up",
        "your answer, your last answer, your reply, the last answer, the above, what you said, what you just "
        "said, our conversation, this conversation, the conversation",
    ),
    (
        "translate, rephrase, reword, paraphrase, rewrite, reformulate",
        "that, it, this",
    ),
    (
        "summarise, summarize, sum up, sum",
        "that, that up",
    ),
    (
        "turn, convert, make",
        "that into, it into, this into",
    ),
    (
        "write, put, format",
        "that as a, that as an, it as a, it as an, this as a, this as an, that in a, it in a",
    ),
    (
        "übersetze, übersetz, übersetzen sie, formuliere, formulier, formulieren sie, kürze, vereinfache",
        "deine antwort, deine letzte antwort, ihre antwort, die letzte antwort",
    ),
    (
        "übersetze, übersetz, übersetzen sie, formuliere, formulier, formulieren sie",
        "das, es, dies, mir das",
    ),
    (
        "fasse, fass, fassen sie",
        "deine antwort, deine letzte antwort, ihre antwort, das gesagte, unser gespräch, dieses gespräch, "
        "unsere unterhaltung",
    ),
    (
        "mach, mache, machen sie",
        "daraus",
    ),
    (
        "traduis, traduisez, reformule, reformulez, raccourcis, raccourcissez, simplifie, simplifiez, résume, résumez",
        "ta réponse, ta dernière réponse, votre réponse, la dernière réponse, ce que tu as dit, notre "
        "conversation, cette conversation",
    ),
    (
        "traduis, traduisez, reformule, reformulez",
        "ça, cela, ceci, le, moi ça",
    ),
    (
        "transforme, transformez, mets",
        "ça en, cela en, le en",
    ),
    (
        "traduce, traduzca, reformula, acorta, simplifica, resume, resuma",
        "tu respuesta, tu última respuesta, su respuesta, la última respuesta, lo que dijiste, nuestra "
        "conversación, esta conversación",
    ),
    (
        "traduce, traduzca, reformula",
        "eso, esto, me eso",
    ),
    (
        "convierte, transforma",
        "eso en, esto en",
    ),
)
"""Orders to work on the last answer: each of the first list before each of the second."""

AFTER_ORDERS = """
into, to, in, as, for, so, and, but, using, with, without, like, again, more, from, an, ins, auf, als, für,
und, aber, mit, ohne, um, wie, zusammen, ein, eine, einen, noch, nochmal, en, pour, comme, avec, sans,
et, mais, plus, al, a, para, como, con, sin, y, pero, más
"""
"""An order ends, or goes on with one of these and then anything: what stands behind `that` may be a document."""
