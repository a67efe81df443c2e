"""Common English words with their phones; neighbors rhyme or begin alike.

The phones are those of espeak-ng 1.52 for American English, in the International Phonetic Alphabet, without stress.
"""

from __future__ import annotations

_TEXT = """
fear f ɪɹ, near n ɪɹ, dear d ɪɹ, hear h ɪɹ, tear t ɪɹ, year j ɪɹ, fame f eɪ m, name n eɪ m, game ɡ eɪ m,
same s eɪ m, tame t eɪ m, came k eɪ m, fight f aɪ t, night n aɪ t, light l aɪ t, might m aɪ t, right ɹ aɪ t,
sight s aɪ t, fat f æ t, mat m æ t, cat k æ t, hat h æ t, bat b æ t, rat ɹ æ t, fan f æ n, man m æ n,
can k æ n, pan p æ n, van v æ n, ran ɹ æ n, fill f ɪ l, mill m ɪ l, hill h ɪ l, bill b ɪ l, pill p ɪ l,
will w ɪ l, fine f aɪ n, mine m aɪ n, line l aɪ n, nine n aɪ n, wine w aɪ n, pine p aɪ n, foot f ʊ t,
put p ʊ t, book b ʊ k, look l ʊ k, cook k ʊ k, took t ʊ k, boat b oʊ t, coat k oʊ t, goat ɡ oʊ t, note n oʊ t,
vote v oʊ t, rope ɹ oʊ p, bell b ɛ l, sell s ɛ l, tell t ɛ l, well w ɛ l, fell f ɛ l, yell j ɛ l, sing s ɪ ŋ,
ring ɹ ɪ ŋ, king k ɪ ŋ, wing w ɪ ŋ, thing θ ɪ ŋ, spring s p ɹ ɪ ŋ, seat s iː t, meat m iː t, heat h iː t,
beat b iː t, feet f iː t, neat n iː t, gold ɡ oʊ l d, cold k oʊ l d, hold h oʊ l d, told t oʊ l d,
sold s oʊ l d, bold b oʊ l d, mouse m aʊ s, house h aʊ s, loud l aʊ d, cloud k l aʊ d, proud p ɹ aʊ d,
found f aʊ n d, sound s aʊ n d, round ɹ aʊ n d, ground ɡ ɹ aʊ n d, pound p aʊ n d, water w ɔː ɾ ɚ,
better b ɛ ɾ ɚ, letter l ɛ ɾ ɚ, matter m æ ɾ ɚ, butter b ʌ ɾ ɚ, winter w ɪ n t ɚ, summer s ʌ m ɚ,
dinner d ɪ n ɚ, corner k ɔːɹ n ɚ, number n ʌ m b ɚ, paper p eɪ p ɚ, tiger t aɪ ɡ ɚ, river ɹ ɪ v ɚ,
silver s ɪ l v ɚ, finger f ɪ ŋ ɡ ɚ, singer s ɪ ŋ ɚ, table t eɪ b əl, cable k eɪ b əl, stable s t eɪ b əl,
apple æ p əl, purple p ɜː p əl, little l ɪ ɾ əl, middle m ɪ d əl, bottle b ɑː ɾ əl, battle b æ ɾ əl,
castle k æ s əl, happy h æ p i, funny f ʌ n i, sunny s ʌ n i, money m ʌ n i, honey h ʌ n i, monkey m ʌ ŋ k i,
donkey d ɔ ŋ k i, turkey t ɜː k i, city s ɪ ɾ i, pretty p ɹ ɪ ɾ i, yellow j ɛ l oʊ, fellow f ɛ l oʊ,
window w ɪ n d oʊ, shadow ʃ æ d oʊ, follow f ɑː l oʊ, pillow p ɪ l oʊ, tomorrow t ə m ɑː ɹ oʊ,
garden ɡ ɑːɹ d ə n, pardon p ɑːɹ d ə n, button b ʌ ʔ n̩, cotton k ɑː ʔ n̩, lemon l ɛ m ə n, melon m ɛ l ə n,
season s iː z ə n, reason ɹ iː z ə n, person p ɜː s ə n, lesson l ɛ s ə n, station s t eɪ ʃ ə n,
nation n eɪ ʃ ə n, question k w ɛ s tʃ ə n, action æ k ʃ ə n, picture p ɪ k tʃ ɚ, nature n eɪ tʃ ɚ,
future f j uː tʃ ɚ, banana b ɐ n æ n ə, potato p ə t eɪ ɾ oʊ, tomato t ə m eɪ ɾ oʊ, piano p i æ n oʊ,
photo f oʊ ɾ oʊ, video v ɪ d ɪ oʊ, radio ɹ eɪ d ɪ oʊ, camera k æ m ɹ ə, elephant ɛ l ɪ f ə n t,
hospital h ɑː s p ɪ ɾ əl, holiday h ɑː l ɪ d eɪ, family f æ m ɪ l i, animal æ n ɪ m əl, capital k æ p ɪ ɾ əl,
morning m ɔːɹ n ɪ ŋ, evening iː v n ɪ ŋ, meeting m iː ɾ ɪ ŋ, reading ɹ iː d ɪ ŋ, writing ɹ aɪ ɾ ɪ ŋ,
running ɹ ʌ n ɪ ŋ, father f ɑː ð ɚ, mother m ʌ ð ɚ, brother b ɹ ʌ ð ɚ, sister s ɪ s t ɚ, daughter d ɔː ɾ ɚ,
doctor d ɑː k t ɚ, teacher t iː tʃ ɚ, farmer f ɑːɹ m ɚ, flower f l aʊ ɚ, tower t aʊ ɚ, power p aʊ ɚ,
shower ʃ aʊ ɚ, school s k uː l, stone s t oʊ n, street s t ɹ iː t, strong s t ɹ ɔ ŋ, straight s t ɹ eɪ t,
church tʃ ɜː tʃ, chair tʃ ɛɹ, cheese tʃ iː z, shoe ʃ uː, ship ʃ ɪ p, fish f ɪ ʃ, dish d ɪ ʃ, wash w ɑː ʃ,
jump dʒ ʌ m p, bridge b ɹ ɪ dʒ, judge dʒ ʌ dʒ, orange ɔ ɹ ɪ n dʒ, village v ɪ l ɪ dʒ, cabbage k æ b ɪ dʒ,
message m ɛ s ɪ dʒ, language l æ ŋ ɡ w ɪ dʒ, computer k ə m p j uː ɾ ɚ, telephone t ɛ l ᵻ f oʊ n,
umbrella ʌ m b ɹ ɛ l ə, vegetable v ɛ dʒ ɪ ɾ ə b əl
"""
#: The phones of each word.
WORDS: dict[str, tuple[str, ...]] = {
    word: tuple(phones) for word, *phones in (entry.split() for entry in _TEXT.split(","))
}
