"""Folder to cited, metered answer: `python examples/ten_lines.py FOLDER COLLECTION QUESTION`."""

import sys

import rag

folder, path, question = sys.argv[1:]
with rag.Collection.create(path, rag.load_embedder()) as docs:
    docs.add(each for each in rag.read_documents([folder]) if isinstance(each, rag.Document))
    pipeline = rag.RetrieveAndRead(rag.HybridRetriever(docs), rag.load_llm())
    answer = pipeline.answer(question, budget=rag.Budget(tokens=2000))
    print(answer.text)
    for each in answer.citations:
        print(f"[{each.number}] {each.document_id}, {each.start} to {each.end}: {each.quote}")
    print(answer.usage.effective_context_length, "tokens read", *answer.notes, sep="\n")
