"""The components of the text plugin. Does not import torch."""

from __future__ import annotations

from dlpipe import DataSpec, EvaluatorSpec, ModelSpec, TrainerSpec, hookimpl

DLPIPE_API = (1, 0)
FACTS = ("vocabulary", "vocab_size", "trigrams", "num_trigrams", "labels", "num_labels")
CORPUS_FACTS = ("words",)
SEQUENCE_FACTS = ("num_features",)
#: Why an evaluator of word vectors does not judge training examples.
OF_WORDS = "it judges the vectors of words, and these belong to no split"
PAIR_FACTS = ("vocabulary", "vocab_size", "target_vocabulary")
TEXT_FACTS = ("vocabulary", "vocab_size", "ngrams", "num_ngrams", "labels", "num_classes")
QUESTION_FACTS = ("vocabulary", "vocab_size", "labels", "num_classes")


@hookimpl
def dlpipe_data():
    return [
        DataSpec("flights", "dlpipe_text.flights:flights", "generated flight requests with slots", facts=FACTS),
        DataSpec("iob", "dlpipe_text.tagged_files:iob", "your own labeled sentences (CoNLL/IOB files)", facts=FACTS),
        DataSpec("atis", "dlpipe_text.tagged_files:atis", "air-travel requests with slots (ATIS)", facts=FACTS),
        DataSpec("reviews", "dlpipe_text.reviews:reviews", "generated reviews with a sentiment", facts=TEXT_FACTS),
        DataSpec("labeled", "dlpipe_text.labeled_files:labeled", "your own texts with labels", facts=TEXT_FACTS),
        DataSpec("stories", "dlpipe_text.stories:stories", "generated stories with questions", facts=QUESTION_FACTS),
        DataSpec("babi", "dlpipe_text.babi:babi", "stories with questions (bAbI files)", facts=QUESTION_FACTS),
        DataSpec(
            "english_german",
            "dlpipe_text.english_german:english_german",
            "generated English sentences with German translations",
            facts=PAIR_FACTS,
        ),
        DataSpec(
            "parallel",
            "dlpipe_text.parallel_files:parallel",
            "your own texts with translations or answers",
            facts=PAIR_FACTS,
        ),
        DataSpec(
            "adding_problem",
            "dlpipe_text.adding_problem:AddingProblem",
            "sequences in which two numbers are to be added",
            facts=SEQUENCE_FACTS,
        ),
        DataSpec("impulse", "dlpipe_text.impulse:Impulse", "one sequence: a number, then zeros", facts=SEQUENCE_FACTS),
        DataSpec(
            "analogy_corpus",
            "dlpipe_text.analogy_corpus:analogy_corpus",
            "generated sentences with known relations between words",
            facts=CORPUS_FACTS,
        ),
        DataSpec(
            "review_corpus",
            "dlpipe_text.review_corpus:review_corpus",
            "generated reviews without labels",
            facts=CORPUS_FACTS,
        ),
        DataSpec("corpus", "dlpipe_text.corpus_files:corpus", "your own texts without labels", facts=CORPUS_FACTS),
        DataSpec("vector_file", "dlpipe_text.vector_file:VectorFile", "word vectors from a file", facts=CORPUS_FACTS),
    ]


@hookimpl
def dlpipe_models():
    return [
        ModelSpec("rnn_tagger", "dlpipe_text.rnn_tagger:RNNTagger", "Elman, Jordan, GRU or LSTM tagger, optional CRF"),
        ModelSpec(
            "feedforward_tagger",
            "dlpipe_text.feedforward_tagger:FeedForwardTagger",
            "tags each word from a window of words",
        ),
        ModelSpec(
            "most_frequent_tag",
            "dlpipe_text.most_frequent_tag:MostFrequentTag",
            "baseline: the most frequent tag of each word",
        ),
        ModelSpec("rnn_classifier", "dlpipe_text.rnn_classifier:RNNClassifier", "Elman, GRU or LSTM text classifier"),
        ModelSpec("cnn_classifier", "dlpipe_text.cnn_classifier:CNNClassifier", "convolutional text classifier"),
        ModelSpec(
            "seq2seq",
            "dlpipe_text.seq2seq:Seq2Seq",
            "GRU or LSTM encoder and decoder with attention, for translation",
        ),
        ModelSpec(
            "transformer",
            "dlpipe_text.transformer:Transformer",
            "encoder and decoder of attention layers, for translation",
        ),
        ModelSpec(
            "word_translation",
            "dlpipe_text.word_translation:WordTranslation",
            "baseline: translates word by word (IBM model 1)",
        ),
        ModelSpec("word_vectors", "dlpipe_text.word_vectors:WordVectors", "a vector for each word of a corpus"),
        ModelSpec("ngram_classifier", "dlpipe_text.ngram_classifier:NgramClassifier", "linear classifier of n-grams"),
        ModelSpec(
            "memory_network",
            "dlpipe_text.memory_network:MemoryNetwork",
            "answers questions by looking at the sentences of a story several times",
        ),
        ModelSpec(
            "sequence_regressor",
            "dlpipe_text.sequence_regressor:SequenceRegressor",
            "Elman, IRNN, GRU or LSTM network that predicts a number",
        ),
        ModelSpec("one_unit", "dlpipe_text.one_unit:OneUnit", "recurrent network of one unit"),
    ]


@hookimpl
def dlpipe_trainers():
    return [
        TrainerSpec(
            "ngram_fit",
            "dlpipe_text.ngram_fit:NgramFit",
            "naive Bayes, NBSVM or logistic regression, in one step",
            requires=("scikit-learn",),
            extra="dlpipe[text]",
            finite=True,
            replaces_weights=True,
        ),
        TrainerSpec(
            "gensim_word2vec",
            "dlpipe_text.gensim_word2vec:GensimWord2Vec",
            "word2vec and FastText, computed by gensim",
            requires=("gensim",),
            extra="dlpipe[text]",
            changeable=("learning_rate", "min_learning_rate"),
            replaces_weights=True,
        ),
        TrainerSpec(
            "skip_gram",
            "dlpipe_text.skip_gram:SkipGram",
            "word vectors by skip-gram in torch, also on a GPU",
            changeable=("learning_rate", "window", "negative", "noise_exponent"),
        ),
        TrainerSpec(
            "load_vectors",
            "dlpipe_text.load_vectors:LoadVectors",
            "word vectors of a file, in one step",
            finite=True,
            replaces_weights=True,
        ),
    ]


@hookimpl
def dlpipe_evaluators():
    return [
        EvaluatorSpec(
            "slot_f1",
            "dlpipe_text.slot_f1:SlotF1",
            "chunk F1 of slots, as computed by conlleval",
            baselines=("text.most_frequent_tag",),
        ),
        EvaluatorSpec(
            "translation",
            "dlpipe_text.translation:Translation",
            "BLEU and chrF of translations, and where the model looked",
            requires=("sacrebleu",),
            extra="dlpipe[text]",
            baselines=("text.word_translation",),
        ),
        EvaluatorSpec(
            "word_contributions",
            "dlpipe_text.word_contributions:WordContributions",
            "texts with their words colored by contribution",
            not_on_train="it gives no metrics, and its figures show the test split",
        ),
        EvaluatorSpec(
            "order_test",
            "dlpipe_text.order_test:OrderTest",
            "minimal pairs with negation and exchanged halves",
            not_on_train="its pairs are the same for every split",
        ),
        EvaluatorSpec(
            "question_answering",
            "dlpipe_text.question_answering:QuestionAnswering",
            "accuracy by kind of question, and whether attention finds the supporting facts",
            baselines=("core.majority_class",),
        ),
        EvaluatorSpec(
            "gradient_by_lag",
            "dlpipe_text.gradient_by_lag:GradientByLag",
            "how the gradient of a recurrent network vanishes or explodes",
        ),
        EvaluatorSpec(
            "error_surface",
            "dlpipe_text.error_surface:ErrorSurface",
            "loss of a recurrent unit over its weight and bias, with the training's path",
        ),
        EvaluatorSpec(
            "analogies",
            "dlpipe_text.analogies:Analogies",
            "word vectors: a is to b as c is to what",
            not_on_train=OF_WORDS,
        ),
        EvaluatorSpec(
            "word_similarity",
            "dlpipe_text.word_similarity:WordSimilarity",
            "word vectors: how similar people find two words",
            not_on_train=OF_WORDS,
        ),
        EvaluatorSpec(
            "nearest_neighbors",
            "dlpipe_text.nearest_neighbors:NearestNeighbors",
            "word vectors: the nearest words of some words",
            not_on_train=OF_WORDS,
            formerly=("text.nearest_neighbours",),
        ),
        EvaluatorSpec(
            "word_map",
            "dlpipe_text.word_map:WordMap",
            "word vectors: a map of words and pairs",
            not_on_train=OF_WORDS,
            requires=("matplotlib",),
            extra="dlpipe[report]",
        ),
        EvaluatorSpec(
            "write_vectors",
            "dlpipe_text.write_vectors:WriteVectors",
            "word vectors: a file for gensim and other programs",
            not_on_train=OF_WORDS,
        ),
    ]
