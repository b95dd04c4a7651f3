# make run                    set up, train on the bundled sample images, write the masks of the sample test images
# make run IMAGES=my_folder   set up, write the masks of your images
# make test                   set up, run all tests

PYTHON ?= python3
MODEL  ?= models/sample
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: run test lint clean

run: $(VENV)/run
	@$(BIN)/python train.py --base-filters 8 --depth 3 --crop-size 128 --epochs 40 --patience 9
	@$(BIN)/python predict_masks.py data/sample/test/images --model models/sample --output predictions/sample
	@$(BIN)/python evaluate_masks.py predictions/sample data/sample/test
	@echo "Look at the pictures in predictions/sample/overlays."

test: $(VENV)/dev
	$(BIN)/python -m pytest

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) models/sample predictions data/cache

# A file in the environment tells what was installed, so that a second call goes straight to work.
$(VENV)/%: requirements.txt requirements-dev.txt requirements-predict.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed and $$($(PYTHON) --version) was found; name another: make PYTHON=python3.12" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(if $(filter dev,$*),requirements-dev.txt,requirements.txt)
	@touch $@
