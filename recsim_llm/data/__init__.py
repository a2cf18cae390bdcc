"""Data sets: catalogue, ratings and people; loaders, splits, and a synthetic world with invented titles.

Importing it imports no readers and downloads nothing.
"""

from recsim_llm.data.dataset import Catalogue, Dataset, Person, Ratings, Split
from recsim_llm.data.loading import DatasetRow, get_dataset_files, list_datasets, load_dataset
from recsim_llm.data.splits import split_ratings

__all__ = [
    "Catalogue",
    "Dataset",
    "DatasetRow",
    "Person",
    "Ratings",
    "Split",
    "get_dataset_files",
    "list_datasets",
    "load_dataset",
    "split_ratings",
]
