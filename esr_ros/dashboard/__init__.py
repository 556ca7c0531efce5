"""The live page: a node that serves one web page of what emotion nodes publish."""
