"""Pure code that both sides share: numpy in, numpy out. No camera, interpreter, socket or clock here.

| module     | one idea                                                                       |
|------------|--------------------------------------------------------------------------------|
| errors     | the one tree of errors, each with an exit code                                  |
| types      | Frame, Pose, Skeleton                                                           |
| geometry   | the coordinate rule, and the map between a frame and the model's input          |
| heatmap    | keypoints -> training targets (`render`) and network output -> keypoints (`decode`) |
| card       | ModelCard: the JSON beside every `.tflite`                                      |
| messages   | every MQTT payload, the topic table, their JSON Schemas                         |
| config     | the daemon's YAML file, strictly read                                           |
| strict     | decoding with errors that name the key, its place and what was probably meant   |
"""
