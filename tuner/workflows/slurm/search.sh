run "$python" -P -m tuner run "${arguments[@]}"
finish
