"""The words of ``text.english_german``, as dictionaries have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Masculine, feminine, neuter, plural of any gender.
Gender = Literal["m", "f", "n", "p"]


@dataclass(frozen=True)
class Noun:
    """A noun in the singular and in the plural, which no case changes but the dative plural."""

    english: str
    english_plural: str
    german: str
    gender: Gender
    german_plural: str


@dataclass(frozen=True)
class Verb:
    """A verb with an object.

    Args:
        english: its base form; a second word, as in "pick up", follows the object.
        third: third person singular of the present tense.
        past: past tense.
        participle: past participle.
        prefix: what stands at the end of a German main clause in the present tense.
        german: the infinitive without the prefix, which is also the plural of the present tense.
        german_third: third person singular of the present tense.
        german_participle: past participle, with the prefix.
        dative: whether the German object is in the dative case.
    """

    english: str
    third: str
    past: str
    participle: str
    prefix: str
    german: str
    german_third: str
    german_participle: str
    dative: bool = False


def _nouns(table: str) -> tuple[Noun, ...]:
    return tuple(Noun(*line.split()) for line in table.strip().splitlines())  # type: ignore[arg-type]


def _verbs(table: str) -> tuple[Verb, ...]:
    found = []
    for line in table.strip().splitlines():
        english, german = line.split("|")
        *forms, particle = [*english.split(), ""] if len(english.split()) == 4 else english.split()
        base, third, past, participle = forms
        prefix, infinitive, german_third, german_participle, *dative = german.split()
        found.append(
            Verb(
                f"{base} {particle}".strip(),
                third,
                past,
                participle,
                prefix.strip("-"),
                infinitive,
                german_third,
                german_participle,
                bool(dative),
            )
        )
    return tuple(found)


OBJECTS = _nouns(
    """
    book books Buch n Bücher
    car cars Auto n Autos
    key keys Schlüssel m Schlüssel
    letter letters Brief m Briefe
    map maps Karte f Karten
    bag bags Tasche f Taschen
    picture pictures Bild n Bilder
    ticket tickets Fahrkarte f Fahrkarten
    watch watches Uhr f Uhren
    bicycle bicycles Fahrrad n Fahrräder
    coat coats Mantel m Mäntel
    lamp lamps Lampe f Lampen
    table tables Tisch m Tische
    chair chairs Stuhl m Stühle
    boat boats Boot n Boote
    hat hats Hut m Hüte
    bottle bottles Flasche f Flaschen
    apple apples Apfel m Äpfel
    cup cups Tasse f Tassen
    knife knives Messer n Messer
    newspaper newspapers Zeitung f Zeitungen
    suitcase suitcases Koffer m Koffer
    umbrella umbrellas Regenschirm m Regenschirme
    camera cameras Kamera f Kameras
    box boxes Kiste f Kisten
    shirt shirts Hemd n Hemden
    """
)
PERSONS = _nouns(
    """
    brother brothers Bruder m Brüder
    sister sisters Schwester f Schwestern
    teacher teachers Lehrer m Lehrer
    doctor doctors Arzt m Ärzte
    child children Kind n Kinder
    friend friends Freund m Freunde
    daughter daughters Tochter f Töchter
    son sons Sohn m Söhne
    uncle uncles Onkel m Onkel
    aunt aunts Tante f Tanten
    woman women Frau f Frauen
    man men Mann m Männer
    girl girls Mädchen n Mädchen
    baker bakers Bäcker m Bäcker
    guest guests Gast m Gäste
    """
)
#: English: base, third person, past tense, participle, second word. German: prefix (- for none), infinitive without it,
#: third person, participle, "dative" if the object is.
OBJECT_VERBS = _verbs(
    """
    buy buys bought bought | - kaufen kauft gekauft
    sell sells sold sold | - verkaufen verkauft verkauft
    need needs needed needed | - brauchen braucht gebraucht
    find finds found found | - finden findet gefunden
    lose loses lost lost | - verlieren verliert verloren
    see sees saw seen | - sehen sieht gesehen
    draw draws drew drawn | - zeichnen zeichnet gezeichnet
    repair repairs repaired repaired | - reparieren repariert repariert
    forget forgets forgot forgotten | - vergessen vergisst vergessen
    carry carries carried carried | - tragen trägt getragen
    wash washes washed washed | - waschen wäscht gewaschen
    bring brings brought brought along | mit bringen bringt mitgebracht
    pick picks picked picked up | ab holen holt abgeholt
    put puts put put away | weg räumen räumt weggeräumt
    give gives gave given back | zurück geben gibt zurückgegeben
    send sends sent sent back | zurück schicken schickt zurückgeschickt
    try tries tried tried out | aus probieren probiert ausprobiert
    """
)
PERSON_VERBS = _verbs(
    """
    see sees saw seen | - sehen sieht gesehen
    visit visits visited visited | - besuchen besucht besucht
    find finds found found | - finden findet gefunden
    love loves loved loved | - lieben liebt geliebt
    understand understands understood understood | - verstehen versteht verstanden
    call calls called called | an rufen ruft angerufen
    invite invites invited invited | ein laden lädt eingeladen
    pick picks picked picked up | ab holen holt abgeholt
    help helps helped helped | - helfen hilft geholfen dative
    thank thanks thanked thanked | - danken dankt gedankt dative
    trust trusts trusted trusted | - vertrauen vertraut vertraut dative
    answer answers answered answered | - antworten antwortet geantwortet dative
    """
)
#: Verbs for what nobody asks others to do.
NOT_ASKED_FOR = ("need", "find", "lose", "see", "forget", "love", "understand", "trust")
#: Adjectives by their German stem.
OBJECT_ADJECTIVES = {
    "old": "alt",
    "new": "neu",
    "red": "rot",
    "small": "klein",
    "big": "groß",
    "beautiful": "schön",
    "cheap": "billig",
    "heavy": "schwer",
    "green": "grün",
    "white": "weiß",
    "blue": "blau",
    "black": "schwarz",
    "broken": "kaputt",
    "strange": "seltsam",
    "yellow": "gelb",
    "brown": "braun",
}
PERSON_ADJECTIVES = {
    "old": "alt",
    "young": "jung",
    "friendly": "freundlich",
    "famous": "berühmt",
    "small": "klein",
    "tall": "groß",
    "clever": "klug",
    "sick": "krank",
    "new": "neu",
    "strange": "seltsam",
}
PLACES = {
    "in the city": "in der Stadt",
    "at the station": "am Bahnhof",
    "in the garden": "im Garten",
    "in the kitchen": "in der Küche",
    "at school": "in der Schule",
    "at the market": "auf dem Markt",
    "on the beach": "am Strand",
    "at the hotel": "im Hotel",
    "in the park": "im Park",
    "in front of the church": "vor der Kirche",
    "behind the house": "hinter dem Haus",
    "at the airport": "am Flughafen",
}
PAST_TIMES = {
    "yesterday": "gestern",
    "last week": "letzte Woche",
    "last year": "letztes Jahr",
    "on Monday": "am Montag",
    "two days ago": "vor zwei Tagen",
    "this morning": "heute Morgen",
}
FUTURE_TIMES = {
    "tomorrow": "morgen",
    "next week": "nächste Woche",
    "next year": "nächstes Jahr",
    "on Sunday": "am Sonntag",
    "in two days": "in zwei Tagen",
    "tonight": "heute Abend",
}
PRESENT_TIMES = {"today": "heute", "now": "jetzt", "every day": "jeden Tag", "on Tuesdays": "dienstags"}
#: Possessives by their German stem.
POSSESSIVES = {"my": "mein", "your": "Ihr", "his": "sein", "her": "ihr", "our": "unser", "their": "ihr"}
NUMBERS = {"two": "zwei", "three": "drei", "four": "vier", "five": "fünf", "ten": "zehn"}
