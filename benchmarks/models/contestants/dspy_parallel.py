"""DSPy: every sample a job of `dspy.Parallel`, and a vote. `python dspy_parallel.py URL PROBLEMS N AT_ONCE`"""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import dspy

BOXED = re.compile(r"\\boxed\{(\d+)\}")


class Sample(dspy.Module):
    def forward(self, question: str, number: int) -> dspy.Prediction:
        turns = [{"role": "user", "content": question}]
        text = dspy.settings.lm(messages=turns, rollout_id=number)[0]
        return dspy.Prediction(text=text if isinstance(text, str) else text["text"])


def main(url: str, path: str, n: int, at_once: int) -> None:
    problems = [json.loads(line) for line in Path(path).read_text().splitlines()]
    model = dspy.LM("openai/fake", api_base=url, api_key="key", temperature=0.7, max_tokens=128, cache=False)
    dspy.configure(lm=model)
    sample = Sample()
    jobs = [
        (sample, dspy.Example(question=problem["question"], number=number).with_inputs("question", "number"))
        for problem in problems
        for number in range(n)
    ]
    found = dspy.Parallel(num_threads=at_once, disable_progress_bar=True, timeout=0)(jobs)
    right = 0
    for place, problem in enumerate(problems):
        texts = [prediction.text for prediction in found[place * n : (place + 1) * n]]
        votes = Counter(match[1] for text in texts if (match := BOXED.search(text)))
        right += votes.most_common(1)[0][0] == problem["answer"]
    print(json.dumps({"right": right / len(problems)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
