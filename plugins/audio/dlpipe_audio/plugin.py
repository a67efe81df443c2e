"""The components of the audio plugin. Does not import torch."""

from __future__ import annotations

from dlpipe import DataSpec, EvaluatorSpec, ModelSpec, RuleSpec, hookimpl

DLPIPE_API = (1, 0)
EXTRA = "dlpipe[audio]"
FACTS = ("num_features",)
WORD_FACTS = (*FACTS, "labels", "num_classes")
WAVEFORM_FACTS = ("num_levels", "words", "speakers", "rate_hz")
TRANSCRIPT_FACTS = (*FACTS, "alphabet")


@hookimpl
def dlpipe_data():
    return [
        DataSpec(
            "tone_words",
            "dlpipe_audio.tone_words:tone_words",
            "made-up words from a synthesizer, by made-up speakers",
            requires=("torchaudio", "soundfile"),
            extra=EXTRA,
            facts=FACTS,
        ),
        DataSpec(
            "spoken_words",
            "dlpipe_audio.spoken_words:spoken_words",
            "English words by the voices of espeak-ng (GPL, an extra of its own; audio.tone_words needs none)",
            requires=("torchaudio", "soundfile", "espeakng-loader"),
            extra="dlpipe[audio,speech]",
            facts=FACTS,
        ),
        _recorded(
            "folder", "dlpipe_audio.recorded_words:folder", "your own recordings of words, in folders or archives"
        ),
        _recorded("manifest", "dlpipe_audio.manifest:manifest", "your own recordings of words, listed in a table"),
        _recorded("fsdd", "dlpipe_audio.recorded_words:fsdd", "English digits by six speakers (FSDD)"),
        DataSpec(
            "tone_sentences",
            "dlpipe_audio.tone_sentences:tone_sentences",
            "made-up sentences from a synthesizer, by made-up speakers, with transcripts",
            requires=("torchaudio", "soundfile"),
            extra=EXTRA,
            facts=TRANSCRIPT_FACTS,
        ),
        DataSpec(
            "digit_strings",
            "dlpipe_audio.digit_strings:digit_strings",
            "strings of English digits by six speakers (FSDD), with transcripts",
            requires=("torchaudio", "soundfile"),
            extra=EXTRA,
            facts=TRANSCRIPT_FACTS,
        ),
        DataSpec(
            "transcribed",
            "dlpipe_audio.transcribed:transcribed",
            "your own recordings with transcripts, listed in a table",
            requires=("torchaudio", "soundfile"),
            extra=EXTRA,
            facts=TRANSCRIPT_FACTS,
        ),
        DataSpec(
            "tone_waveforms",
            "dlpipe_audio.waveforms:tone_waveforms",
            "made-up syllables from a synthesizer as waveforms, for models that generate speech",
            requires=("torchaudio", "soundfile"),
            extra=EXTRA,
            facts=WAVEFORM_FACTS,
        ),
        DataSpec(
            "waveforms",
            "dlpipe_audio.waveforms:waveforms",
            "your own recordings of words as waveforms, for models that generate speech",
            requires=("torchaudio", "soundfile"),
            extra=EXTRA,
            facts=WAVEFORM_FACTS,
        ),
        DataSpec(
            "frames",
            "dlpipe_audio.frames:frames",
            "single frames of your recordings, with those around them, for classifiers of images",
            requires=("torchaudio", "soundfile"),
            extra=EXTRA,
            facts=("image_shape", "labels", "num_classes"),
        ),
    ]


def _recorded(name: str, target: str, summary: str) -> DataSpec:
    return DataSpec(name, target, summary, requires=("torchaudio", "soundfile"), extra=EXTRA, facts=WORD_FACTS)


@hookimpl
def dlpipe_models():
    return [
        ModelSpec(
            "seq2seq_autoencoder",
            "dlpipe_audio.seq2seq_autoencoder:Seq2SeqAutoEncoder",
            "a spoken word of any length becomes a vector (audio word2vec)",
            application="dlpipe_audio.search:search",
        ),
        ModelSpec(
            "ctc_recognizer",
            "dlpipe_audio.ctc_recognizer:CTCRecognizer",
            "GRU or LSTM that writes down what is said (connectionist temporal classification)",
        ),
        ModelSpec(
            "wavenet",
            "dlpipe_audio.wavenet:WaveNet",
            "generates speech sample by sample (WaveNet)",
            application="dlpipe_audio.generate_speech:generate",
        ),
        ModelSpec(
            "linear_prediction",
            "dlpipe_audio.linear_prediction:LinearPrediction",
            "baseline: predicts samples of speech from those before (linear prediction)",
        ),
        ModelSpec("keyword_cnn", "dlpipe_audio.keyword_cnn:KeywordCNN", "convolutional classifier of spoken words"),
        ModelSpec("keyword_rnn", "dlpipe_audio.keyword_rnn:KeywordRNN", "GRU or LSTM classifier of spoken words"),
    ]


@hookimpl
def dlpipe_evaluators():
    return [
        _evaluator(
            "query_by_example",
            "dlpipe_audio.query_by_example:QueryByExample",
            "find the same word from other speakers, compared with time warping and simple vectors",
        ),
        _evaluator(
            "same_different",
            "dlpipe_audio.same_different:SameDifferent",
            "do two recordings say the same word, over all pairs",
        ),
        _evaluator(
            "phone_distance",
            "dlpipe_audio.phone_distance:PhoneDistance",
            "similarity of vectors against the edit distance of phones",
        ),
        _evaluator(
            "vector_differences",
            "dlpipe_audio.vector_differences:VectorDifferences",
            "does the same change of a phone always move a vector the same way (fear − near, fame − name)",
        ),
        _evaluator(
            "reconstruction",
            "dlpipe_audio.reconstruction:Reconstruction",
            "spoken words reconstructed from their vectors, as pictures and sounds",
        ),
        EvaluatorSpec(
            "frames_vote",
            "dlpipe_audio.frames_vote:FramesVote",
            "which word a recording says, by the classes of its frames",
            extra=EXTRA,
        ),
        _evaluator(
            "transcription",
            "dlpipe_audio.transcription:Transcription",
            "error rate of labels and words against what is said, with alignments",
        ),
        _evaluator(
            "waveform_likelihood",
            "dlpipe_audio.waveform_likelihood:WaveformLikelihood",
            "bits per sample of waveforms, under a model that generates them",
            baselines=("audio.linear_prediction",),
        ),
        _evaluator(
            "generated_speech",
            "dlpipe_audio.generated_speech:GeneratedSpeech",
            "whether a recognizer understands the words that a model generates, with spectrograms and sounds",
            not_on_train="the recognizers are trained on it",
        ),
        _evaluator(
            "word_map",
            "dlpipe_audio.word_map:WordMap",
            "words in two dimensions, and their vectors as files",
            not_on_train="it gives no metrics, and its figures show the test split",
        ),
    ]


def _evaluator(
    name: str, target: str, summary: str, not_on_train: str = "", baselines: tuple[str, ...] = ()
) -> EvaluatorSpec:
    return EvaluatorSpec(
        name,
        target,
        summary,
        requires=("matplotlib",),
        extra=EXTRA,
        not_on_train=not_on_train,
        baselines=baselines,
    )


@hookimpl
def dlpipe_rules():
    return [
        RuleSpec(
            "no-augmentation",
            "dlpipe_audio.coach_rules:no_augmentation",
            "recordings that are the same in every epoch, of a model that learns what only they have",
        )
    ]
