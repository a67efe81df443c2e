"""Generated reviews without labels."""

from __future__ import annotations

import hashlib

from dlpipe_text.review_corpus import plain_reviews


def test_the_reviews_are_the_same_on_every_machine_and_python():
    text = repr(list(plain_reviews(60, 1, ("en", "zh"))))

    # After changing a pattern or a word, update the digest and repeat the measurements in docs and tests.
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "7f4e61abfcc5e4ff966f486a72d6bd0b90629df4c470e5b2be32bc0775b5e80a"
    )


def test_more_reviews_are_added_at_the_end():
    assert list(plain_reviews(20, 3, ("en",)))[:5] == list(plain_reviews(5, 3, ("en",)))
    assert list(plain_reviews(5, 4, ("en",))) != list(plain_reviews(5, 3, ("en",)))
